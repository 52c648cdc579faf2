//! What answers where no route does.

use std::future::{Ready, ready};

use actix_web::dev::ResourceDef;
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};

use super::problem::{Problem, ProblemKind};

/// The service's routes, to tell a wrong method from a wrong path.
pub struct KnownRoutes {
    routes: Vec<(Method, ResourceDef)>,
}

impl KnownRoutes {
    /// Routes as method and path template (`/plans/{tier}`).
    pub fn new(routes: impl IntoIterator<Item = (Method, String)>) -> Self {
        Self {
            routes: routes
                .into_iter()
                .map(|(method, template)| (method, ResourceDef::new(template)))
                .collect(),
        }
    }

    /// The methods that this path takes, as an `Allow` header lists them; None where no route has the path.
    pub fn allowed(&self, path: &str) -> Option<String> {
        let mut methods: Vec<&str> = self
            .routes
            .iter()
            .filter(|(_, template)| template.is_match(path))
            .map(|(method, _)| method.as_str())
            .collect();
        if methods.contains(&Method::GET.as_str()) {
            methods.push(Method::HEAD.as_str());
        }
        methods.sort_unstable();
        methods.dedup();
        (!methods.is_empty()).then(|| methods.join(", "))
    }
}

/// The application's default service: 405 where the path has a route for another method, else 404. Needs
/// `web::Data<KnownRoutes>`.
pub fn fallback(request: HttpRequest) -> Ready<Result<HttpResponse, Problem>> {
    ready(Err(unrouted(&request)))
}

/// The problem of a request that no route took.
pub(super) fn unrouted(request: &HttpRequest) -> Problem {
    let allowed = request
        .app_data::<web::Data<KnownRoutes>>()
        .and_then(|routes| routes.allowed(request.path()));
    match allowed {
        Some(allowed) => Problem::method_not_allowed(&allowed),
        None => ProblemKind::NotFound.with_detail("There is no such route."),
    }
}
