//! What a fetched file is called.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::link::Link;

/// A path in `dir` that is free: named as the URL's last component where a file can be, since scripts look at extensions.
pub(crate) fn free(dir: &Path, link: &Link) -> PathBuf {
    let legal =
        |name: &Vec<u8>| name.len() <= 240 && !name.starts_with(b".") && !name.iter().any(|b| matches!(b, 0 | b'/'));
    let name = OsString::from_vec(link.file_name().filter(legal).unwrap_or_else(|| b"input".to_vec()));
    let numbered = |n: u32| {
        let mut numbered = OsString::from(format!("{n}-"));
        numbered.push(&name);
        dir.join(numbered)
    };
    let paths = std::iter::once(dir.join(&name)).chain((1..).map(numbered));
    paths.into_iter().find(|path| path.symlink_metadata().is_err()).expect("there is no end of numbers")
}

#[cfg(test)]
mod tests {
    use storage::Uri;

    use super::*;

    #[test]
    fn a_file_keeps_its_name_where_it_can() {
        let dir = tempfile::tempdir().expect("a directory");
        let name = |url: &str| {
            let path = free(dir.path(), &Link::parse(&Uri::parse(url).expect("a URI")).expect("a URL"));
            assert_eq!(path.parent(), Some(dir.path()));
            path.file_name().expect("a name").to_string_lossy().into_owned()
        };
        assert_eq!(name("https://h/in/a%20b.mp4?sig=x"), "a b.mp4");
        for url in [
            "https://h/",
            "https://h/in/",
            "https://h/a%2Fb",
            "https://h/.hidden",
            "https://h/a%00",
            "https://h/%2e%2e",
        ] {
            assert_eq!(name(url), "input", "{url}");
        }
        assert_eq!(name(&format!("https://h/{}", "x".repeat(300))), "input");
        std::fs::write(dir.path().join("a.mp4"), "").expect("written");
        assert_eq!(name("https://h/a.mp4"), "1-a.mp4");
    }
}
