# Sourced in the guest: the kernel's own NFSv4.2 server over loopback. There is no mountd, so what it would tell the kernel
# is put into the export caches by hand, and again by `server_up` after the server was down.
SRV=/srv
mkdir -p $SRV && mount -t tmpfs -o size=256m tmpfs $SRV && mkdir -p $SRV/export /var/lib/nfs/v4recovery
mount -t nfsd nfsd /proc/fs/nfsd
echo 10 >/proc/fs/nfsd/nfsv4gracetime
echo 10 >/proc/fs/nfsd/nfsv4leasetime
echo "-2 -3 +4 +4.1 +4.2" >/proc/fs/nfsd/versions
cat >/bin/server_up <<'UP'
#!/bin/sh
expiry=$(( $(date +%s) + 86400 ))
echo "nfsd 127.0.0.1 $expiry clients" >/proc/net/rpc/auth.unix.ip/channel
# 9234: any port, asynchronous, no subtree check, a file system id of our own; root stays nobody.
echo "clients /srv $expiry 9234 65534 65534 0" >/proc/net/rpc/nfsd.export/channel
echo "clients 1 \\x00000000 $expiry /srv" >/proc/net/rpc/nfsd.fh/channel
echo 4 >/proc/fs/nfsd/threads
UP
cat >/bin/server_down <<'DOWN'
#!/bin/sh
echo 0 >/proc/fs/nfsd/threads
DOWN
chmod +x /bin/server_up /bin/server_down
server_up && { echo Y >/proc/fs/nfsd/v4_end_grace 2>/dev/null; true; }
# Default caching, as most mounts have it.
mount -t nfs4 -o vers=4.2,clientaddr=127.0.0.1,nosharecache 127.0.0.1:/export /mnt
