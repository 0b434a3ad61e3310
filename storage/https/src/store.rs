//! The store of one scheme.

use storage::{Error, Inputs, Outputs, Store, Uri};

use crate::HttpsArgs;
use crate::client::{Client, Surroundings};
use crate::inputs::HttpsInputs;
use crate::outputs::HttpsOutputs;
use crate::root::Root;

/// What is reached by `https:`, or by `http:` without encryption.
#[derive(Clone, Debug)]
pub struct HttpsStore {
    scheme: &'static str,
    client: Client,
}

impl HttpsStore {
    /// The store of `https:` that `args` describe. Does no I/O.
    pub fn new(args: HttpsArgs) -> Self {
        Self::within(args, Surroundings::default())
    }

    /// As [`new`](Self::new), with something else around it than the machine.
    pub fn within(args: HttpsArgs, surroundings: Surroundings) -> Self {
        Self { scheme: "https", client: Client::new(args, surroundings) }
    }

    /// The same store for `http:`, which refuses with a reason what the flags do not allow. Have both, so that people are told
    /// why, and not that nobody here has ever heard of `http:`.
    #[must_use]
    pub fn plain(&self) -> Self {
        Self { scheme: "http", client: self.client.clone() }
    }

    fn root(&self, root: &Uri) -> Result<Root, Error> {
        let root = Root::parse(root)?;
        self.client.refuse_plain(&root.link)?;
        Ok(root)
    }
}

impl Store for HttpsStore {
    fn scheme(&self) -> &'static str {
        self.scheme
    }

    fn inputs(&self, root: &Uri) -> Result<Box<dyn Inputs>, Error> {
        Ok(Box::new(HttpsInputs::new(self.client.clone(), self.root(root)?)))
    }

    fn outputs(&self, root: &Uri) -> Result<Box<dyn Outputs>, Error> {
        Ok(Box::new(HttpsOutputs::new(self.client.clone(), self.root(root)?.link)))
    }
}
