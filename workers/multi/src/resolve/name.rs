//! What images are called, and when two names mean the same.

/// An image's name, written out: `busybox` is `docker.io/library/busybox:latest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    repository: String,
    tag: String,
    digest: Option<String>,
}

impl Reference {
    pub(super) fn new(text: &str) -> Self {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.to_owned())),
            None => (text, None),
        };
        let (name, tag) = match name.rsplit_once(':') {
            // What follows a port is a path.
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (name, "latest"),
        };
        let repository = match name.split_once('/') {
            Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
            Some(_) => format!("docker.io/{name}"),
            None => format!("docker.io/library/{name}"),
        };
        Self { repository, tag: tag.to_owned(), digest }
    }

    /// Whether an archive's image of this name, or of this digest, is the one that is wanted. Some tools write the tag alone.
    pub(super) fn is(&self, name: &str, digest: Option<&str>) -> bool {
        if let Some(wanted) = &self.digest {
            return digest == Some(wanted);
        }
        let other = Self::new(name);
        let is_bare_tag = !name.contains(['/', ':', '@']) && name == self.tag && self.tag != "latest";
        is_bare_tag || (other.repository, other.tag) == (self.repository.clone(), self.tag.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_image_has_many_names() {
        for (wanted, name, same) in [
            ("busybox", "docker.io/library/busybox:latest", true),
            ("busybox:1.36", "docker.io/library/busybox:1.36", true),
            ("busybox:1.36", "busybox:1.37", false),
            ("busybox:1.36", "1.36", true),
            ("bitnami/redis:7", "docker.io/bitnami/redis:7", true),
            ("registry.example:5000/a/b", "registry.example:5000/a/b:latest", true),
            ("registry.example:5000/a/b:1", "registry.example:5000/a/c:1", false),
            ("localhost/detect:1", "localhost/detect:1", true),
            ("localhost/detect:1", "detect:1", false),
            ("busybox", "latest", false),
        ] {
            assert_eq!(Reference::new(wanted).is(name, None), same, "{wanted} {name}");
        }
        let pinned = Reference::new("busybox:1@sha256:00");
        assert!(pinned.is("anything", Some("sha256:00")) && !pinned.is("busybox:1", Some("sha256:01")));
    }
}
