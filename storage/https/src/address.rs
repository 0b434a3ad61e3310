//! Which addresses may be reached: those of the public internet, and what an operator names besides.
//!
//! The registries of IANA for special-purpose addresses (RFC 6890) are the source; of IPv6 only global unicast space is public.
//! An address that carries another inside of it (IPv4-mapped, NAT64) is judged by that one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What `--https-allow-private` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Private {
    /// A host, by the name that a URL gives it: in lower case, without a dot at its end.
    Host(String),
    /// Every address that begins with these bits.
    Network {
        /// One of its addresses.
        address: IpAddr,
        /// How many bits of it count.
        prefix: u8,
    },
}

impl FromStr for Private {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, prefix) = match text.split_once('/') {
            Some((name, prefix)) => (name, Some(prefix)),
            None => (text, None),
        };
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        match (bare.parse::<IpAddr>(), prefix) {
            (Ok(address), prefix) => {
                let all = if address.is_ipv4() { 32 } else { 128 };
                let prefix = prefix.map_or(Ok(all), str::parse).ok().filter(|prefix| *prefix <= all);
                let prefix = prefix.ok_or_else(|| format!("{text:?} is no network: write 10.1.0.0/16 or fd00::/8"))?;
                Ok(Self::Network { address, prefix })
            }
            (Err(_), None) => match url::Host::parse(text) {
                Ok(url::Host::Domain(name)) => Ok(Self::Host(name.trim_end_matches('.').to_owned())),
                _ => Err(format!("{text:?} is no host name: write minio.internal, 10.1.2.3 or 10.1.0.0/16")),
            },
            (Err(_), Some(_)) => {
                Err(format!("{text:?} is no network: write 10.1.0.0/16; a host stands without a path"))
            }
        }
    }
}

/// How far an address is from being anybody's to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Public,
    /// A host named by an operator may be there.
    Private(&'static str),
    /// Only a network named by an operator makes it one to reach.
    Never(&'static str),
    /// It gives credentials to whoever asks: nothing but its own address, named by an operator, makes it one to reach.
    Metadata,
}

/// The rule of one store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admission(Vec<Private>);

impl Admission {
    pub(crate) fn new(named: Vec<Private>) -> Self {
        Self(named)
    }

    /// Whether `address`, which `host` has, may be reached.
    ///
    /// # Errors
    /// What it is that it may not.
    pub(crate) fn judge(&self, host: &str, address: IpAddr) -> Result<(), &'static str> {
        let address = embedded(address);
        let reach = reach(address);
        if reach == Reach::Public || self.names(host, address) {
            return Ok(());
        }
        match reach {
            Reach::Public => Ok(()),
            Reach::Private(what) | Reach::Never(what) => Err(what),
            Reach::Metadata => Err("a cloud's metadata service"),
        }
    }

    /// Whether an operator named `address`, as the address of `host`.
    pub(crate) fn names(&self, host: &str, address: IpAddr) -> bool {
        let address = embedded(address);
        let reach = reach(address);
        self.0.iter().any(|named| match named {
            Private::Host(name) => name == host && matches!(reach, Reach::Private(_) | Reach::Public),
            Private::Network { address: net, prefix } => {
                let whole = *prefix == if net.is_ipv4() { 32 } else { 128 };
                within(address, *net, *prefix) && (whole || reach != Reach::Metadata)
            }
        })
    }
}

/// The address that is really reached: of one that carries an IPv4 address for a translator, that one.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    match v6.segments() {
        // NAT64 (RFC 6052). In clusters that speak IPv6 alone, DNS64 gives every public IPv4 host such an address.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Ipv4Addr::new(a, b, c, d).into()
        }
        _ => address,
    }
}

fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(v4) => reach_v4(v4),
        IpAddr::V6(v6) => reach_v6(v6),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        // AWS, GCP, Azure, OpenStack and others; credentials of ECS tasks and EKS pods; Alibaba; Oracle; Azure's wire server,
        // which has a public address.
        [169, 254, 169, 254]
        | [169, 254, 170, 2 | 23]
        | [100, 100, 100, 200]
        | [192, 0, 0, 192]
        | [168, 63, 129, 16] => Reach::Metadata,
        [0, ..] => Reach::Never("an address of this machine"),
        [127, ..] => Reach::Private("a loopback address"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Reach::Private("a private address"),
        [100, 64..=127, ..] => Reach::Private("a carrier's private address"),
        [169, 254, ..] => Reach::Never("a link-local address"),
        [192, 0, 0, _] | [192, 88, 99, _] => Reach::Never("an address of a protocol"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Reach::Never("an address for documentation"),
        [198, 18..=19, ..] => Reach::Never("an address for benchmarks"),
        [224..=239, ..] => Reach::Never("a multicast address"),
        [240..=255, ..] => Reach::Never("a reserved address"),
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    match address.segments() {
        // AWS, credentials of EKS pods, GCP.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254 | 0x23] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => Reach::Metadata,
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Private("a loopback address"),
        [0, 0, 0, 0, 0, 0, 0, 0] => Reach::Never("an address of this machine"),
        [0xfc00..=0xfdff, ..] => Reach::Private("a unique-local address"),
        [0xfe80..=0xfebf, ..] => Reach::Never("a link-local address"),
        [0xfec0..=0xfeff, ..] => Reach::Never("a site-local address"),
        [0xff00..=0xffff, ..] => Reach::Never("a multicast address"),
        [0x2002, ..] => Reach::Never("a 6to4 address"),
        // Teredo, ORCHID, benchmarks and the like.
        [0x2001, 0..=0x1ff, ..] => Reach::Never("an address of a protocol"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Reach::Never("an address for documentation"),
        [0x2000..=0x3fff, ..] => Reach::Public,
        _ => Reach::Never("no public address"),
    }
}

fn within(address: IpAddr, net: IpAddr, prefix: u8) -> bool {
    let (address, net, width) = match (address, net) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(a.to_bits()), u128::from(n.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits(), 128),
        _ => return false,
    };
    let shift = u32::from(width - prefix);
    address.checked_shr(shift).unwrap_or(0) == net.checked_shr(shift).unwrap_or(0)
}

impl fmt::Display for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Network { address, prefix } => write!(f, "{address}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(named: &[&str], host: &str, address: &str) -> Result<(), &'static str> {
        let named = named.iter().map(|text| text.parse().expect("a host or network")).collect();
        Admission::new(named).judge(host, address.parse().expect("an address"))
    }

    #[test]
    fn only_the_public_internet_is_reached_unasked() {
        for public in [
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "169.253.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:4860::8888",
            "64:ff9b::8.8.8.8",
            "::ffff:8.8.8.8",
        ] {
            assert_eq!(judged(&[], "h", public), Ok(()), "{public}");
        }
        for refused in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.0.1",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
            "2002:7f00:1::",
            "2002:0a00:1::1",
            "2001::1",
            "2001:0:7f00:1::",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "5f00::1",
            "4000::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(judged(&[], "h", refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn an_operator_names_what_else_may_be_reached() {
        assert_eq!(judged(&["10.1.0.0/16"], "h", "10.1.2.3"), Ok(()));
        assert_eq!(judged(&["10.1.0.0/16"], "h", "::ffff:10.1.2.3"), Ok(()));
        assert!(judged(&["10.1.0.0/16"], "h", "10.2.0.1").is_err());
        assert_eq!(judged(&["127.0.0.1"], "h", "127.0.0.1"), Ok(()));
        assert!(judged(&["127.0.0.1"], "h", "127.0.0.2").is_err());
        assert_eq!(judged(&["[fd00::]/8"], "h", "fd12::1"), Ok(()));
        assert_eq!(judged(&["0.0.0.0/0"], "h", "169.254.1.1"), Ok(()));
        assert!(judged(&["0.0.0.0/0"], "h", "::1").is_err());
        assert_eq!(judged(&["Minio.Internal."], "minio.internal", "192.168.3.4"), Ok(()));
        assert!(judged(&["minio.internal"], "other.internal", "192.168.3.4").is_err());
    }

    #[test]
    fn a_metadata_service_is_reached_by_its_own_address_alone() {
        for address in
            ["169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "::ffff:169.254.169.254"]
        {
            assert!(judged(&["0.0.0.0/0", "::/0", "h"], "h", address).is_err(), "{address}");
        }
        assert!(judged(&["169.254.169.252/30"], "h", "169.254.169.254").is_err());
        assert_eq!(judged(&["169.254.169.254"], "h", "169.254.169.254"), Ok(()));
        assert!(judged(&["h"], "h", "169.254.1.1").is_err(), "a name does not stand for link-local addresses");
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0.0/x", "host/24", "http://host", "a b", "fd00::/129"] {
            assert!(text.parse::<Private>().is_err(), "{text}");
        }
    }
}
