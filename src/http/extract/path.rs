//! Path parameters.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::{FromRequest, HttpRequest, web};
use serde::de::DeserializeOwned;

use crate::http::problem::{Problem, ProblemKind};

/// The path's parameters. A segment that cannot be a `T` names nothing: 404. Only a PUT, which would make what it names,
/// is told in a 400 why that name cannot be.
#[derive(Clone, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Path<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(parse(request).map(Self))
    }
}

fn parse<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    let storable = request.match_info().iter().all(|(_, segment)| {
        // The router decodes all but `%`, `/` and `+` beforehand, bytes that are not UTF-8 into U+FFFD.
        !segment.contains(['\0', char::REPLACEMENT_CHARACTER]) && !segment.contains("%00")
    });
    let fault = if storable {
        match web::Path::<T>::extract(request).into_inner() {
            Ok(path) => return Ok(path.into_inner()),
            Err(error) => error.to_string(),
        }
    } else {
        "not UTF-8, or with the character U+0000".to_owned()
    };
    Err(if request.method() == Method::PUT {
        ProblemKind::MalformedRequest
            .with_detail(format!("The path cannot name anything: {fault}."))
    } else {
        ProblemKind::NotFound.with_detail(format!("The path names nothing: {fault}."))
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::Method;
    use actix_web::test::TestRequest;
    use actix_web::{App, HttpResponse, test};

    use super::*;
    use crate::domain::ids::CustomerId;

    async fn answer(method: Method, path: &str) -> (u16, String) {
        let app = test::init_service(App::new().route(
            "/customers/{customer_id}",
            web::route().to(|id: Path<CustomerId>| async move {
                HttpResponse::Ok().body(id.0.to_string())
            }),
        ))
        .await;
        let request = TestRequest::with_uri(path).method(method).to_request();
        let response = test::call_service(&app, request).await;
        let status = response.status().as_u16();
        let body = test::read_body(response).await;
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[actix_web::test]
    async fn segments_are_decoded_and_checked() {
        assert_eq!(
            answer(Method::GET, "/customers/user%40example.com%7C1").await,
            (200, "user@example.com|1".to_owned())
        );
        for bad in ["a%20b", "a%2Fb", "%00", "%ff", "%2e", "%25"] {
            let path = format!("/customers/{bad}");
            assert_eq!(answer(Method::GET, &path).await.0, 404, "{bad}");
            assert_eq!(answer(Method::PUT, &path).await.0, 400, "{bad}");
        }
    }
}
