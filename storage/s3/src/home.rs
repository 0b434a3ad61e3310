//! Whether an answer says that a bucket is in another region.
//!
//! AWS names the bucket's region in many a refusal, whatever it is for: an expired token is a 400 with the region beside it, and the
//! answer to a HEAD says nothing else. Only another region than the one that was asked is news.

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

/// The header that names a bucket's region.
pub(crate) const REGION: &str = "x-amz-bucket-region";

/// The region that is asked; answers do not name it.
#[derive(Debug)]
pub(crate) struct Home(pub(crate) String);

#[dyn_dispatch_hint]
impl Intercept for Home {
    fn name(&self) -> &'static str {
        "Home"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response_mut().headers_mut();
        if headers.get(REGION) == Some(&*self.0) {
            headers.remove(REGION);
        }
        Ok(())
    }
}
