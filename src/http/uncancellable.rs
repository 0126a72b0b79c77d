//! Work that the end of its request does not cancel.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use tokio::runtime::Handle;

use crate::request_context::RequestContext;

/// A future that continues as a task of its own if it is dropped before its end: cancelling database work halfway would
/// cost its connection.
pub(super) struct Uncancellable<T: Send + 'static>(Option<Work<T>>);

type Work<T> = Pin<Box<dyn Future<Output = Result<T, Panic>> + Send>>;

/// The work panicked. The log has the message.
#[derive(Debug, thiserror::Error)]
#[error("the request panicked")]
pub(super) struct Panic;

impl<T: Send + 'static> Uncancellable<T> {
    pub(super) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        // A panic would end all requests of the client's connection.
        let work = AssertUnwindSafe(work).catch_unwind();
        Self(Some(Box::pin(work.map(|result| result.map_err(|_| Panic)))))
    }
}

impl<T: Send + 'static> Future for Uncancellable<T> {
    type Output = Result<T, Panic>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.0 else {
            return Poll::Pending; // not polled again after its end
        };
        let result = ready!(work.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(result)
    }
}

impl<T: Send + 'static> Drop for Uncancellable<T> {
    fn drop(&mut self) {
        // Outside a runtime, the process ends.
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            match RequestContext::current() {
                Some(request) => runtime.spawn(request.scope(work)),
                None => runtime.spawn(work),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, Uri};
    use futures_util::poll;
    use tokio::sync::oneshot;

    use super::*;
    use crate::request_context::{RequestId, current_request_id};

    #[tokio::test]
    async fn dropped_work_continues_for_its_request() {
        let (finish, finished) = oneshot::channel();
        let (resume, resumed) = oneshot::channel::<()>();
        let request_id = RequestId::from_headers(&HeaderMap::new());
        let request = RequestContext {
            uri: Uri::from_static("/"),
            request_id: request_id.clone(),
            trace_id: None,
        };
        request
            .scope(async {
                let mut work = Uncancellable::new(async {
                    resumed.await.unwrap();
                    finish.send(current_request_id()).unwrap();
                });
                assert!(poll!(&mut work).is_pending());
            })
            .await;
        resume.send(()).unwrap();
        assert_eq!(finished.await.unwrap().as_deref(), Some(request_id.as_str()));
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let work = Uncancellable::<()>::new(async { panic!("expected") });
        assert!(work.await.is_err());
    }
}
