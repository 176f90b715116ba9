//! An error in one shape: the fault, the side it is on, the remedy.

use crate::{AcceptError, Unavailable, access, enrol, registry};
use axum::{
    Json,
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use rules::{admission::Unacceptable, printable::printable};
use serde::Serialize;

/// `{"error": …, "whose": "caller"|"collector", "what_to_do": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    #[serde(skip)]
    status: u16,
    error: String,
    whose: &'static str,
    what_to_do: String,
    /// Of a batch under an epoch that is over: the one that counts, for a sensor to go on after.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
}

impl Problem {
    fn new(status: StatusCode, error: impl Into<String>, what_to_do: impl Into<String>) -> Problem {
        let whose = if status.is_server_error() { "collector" } else { "caller" };
        let (error, what_to_do) = (printable(&error.into(), 1000), printable(&what_to_do.into(), 400));
        Problem { status: status.as_u16(), error, whose, what_to_do, epoch: None }
    }

    pub(crate) fn bad(error: impl Into<String>) -> Problem {
        Problem::new(
            StatusCode::BAD_REQUEST,
            error,
            "correct what it names and send it again; `gnomon --help` lists the commands that speak to this API",
        )
    }

    pub(crate) fn unauthorized(what_to_do: &str) -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, "this needs the admin token", what_to_do)
    }

    pub(crate) fn forbidden(error: impl Into<String>, what_to_do: &str) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, error, what_to_do)
    }

    pub(crate) fn missing(what: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, what, "look at the list it should be in; names are exact")
    }

    pub(crate) fn conflict(error: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, error, "look at what is there, then choose")
    }

    pub(crate) fn slow() -> Problem {
        Problem::new(StatusCode::REQUEST_TIMEOUT, "the request took too long to arrive or to answer", "send it again, in one piece")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("2"));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer realm=\"gnomon\""));
        }
        response
    }
}

/// Refusals that the HTTP layer made before a handler ran, in our shape.
pub(crate) fn shaped(response: Response) -> Response {
    let status = response.status();
    let plain = response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"text/plain"));
    if !plain || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let error = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "the body is longer than this route takes".to_owned(),
        other => format!("the request was refused: {other}"),
    };
    Problem::new(status, error, "send less at once, in well-formed HTTP").into_response()
}

pub(crate) async fn not_found(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("there is no {}", uri.path()),
        "use a command and a collector of the same version; `gnomon --help` lists the commands that speak to this API",
    )
}

pub(crate) async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let error = format!("{} does not take {method}", uri.path());
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        error,
        "use a command and a collector of the same version; `gnomon --help` lists the commands that speak to this API",
    )
}

impl From<Unavailable> for Problem {
    fn from(why: Unavailable) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, why.to_string(), "nothing was stored; send it again after the time in Retry-After")
    }
}

impl From<AcceptError> for Problem {
    fn from(why: AcceptError) -> Problem {
        match why {
            AcceptError::Malformed(_) => Problem::bad(why.to_string()),
            AcceptError::EpochOver { current, .. } => {
                let problem =
                    Problem::new(StatusCode::CONFLICT, why.to_string(), "say what is not acknowledged under a later epoch, from 1 on");
                Problem { epoch: Some(current), ..problem }
            }
            AcceptError::Forbidden(_) => {
                let todo =
                    "to enrol it anew: remove `identity` from its data directory, and start it with a token of `gnomon tokens issue`";
                Problem::forbidden(why.to_string(), todo)
            }
            AcceptError::Unavailable(why) => why.into(),
        }
    }
}

impl From<registry::Refusal> for Problem {
    fn from(why: registry::Refusal) -> Problem {
        use registry::Refusal as R;
        match why {
            R::Unknown(_) => Problem::missing(why.to_string()),
            R::Taken(_) | R::Shared { .. } | R::Full(_) => Problem::conflict(why.to_string()),
            R::Unsound(_) | R::OtherSlug { .. } => Problem::bad(why.to_string()),
        }
    }
}

impl From<access::Refusal> for Problem {
    fn from(why: access::Refusal) -> Problem {
        use access::Refusal as R;
        match why {
            R::NoServer { .. } => Problem::new(
                StatusCode::NOT_FOUND,
                why.to_string(),
                "register it first (gnomon registry add), or take a slug of gnomon registry list",
            ),
            R::NoTenant(_) | R::NoKey { .. } | R::NoGrant(_) => Problem::missing(why.to_string()),
            R::TooMany { .. } | R::Exists(_) => Problem::conflict(why.to_string()),
            R::Name | R::Grant(_) => Problem::bad(why.to_string()),
            R::Randomness(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why.to_string(), "look at the machine's random source"),
        }
    }
}

impl From<enrol::Refusal> for Problem {
    fn from(why: enrol::Refusal) -> Problem {
        use enrol::Refusal as R;
        match why {
            R::Token | R::Expired(_) => Problem::forbidden(why.to_string(), "ask whoever runs the collector for a new join token"),
            R::Unknown(_) | R::NoToken(_) => Problem::missing(why.to_string()),
            R::Taken(_) | R::Full(_) => Problem::conflict(why.to_string()),
            R::Ask(_) => Problem::bad(why.to_string()),
            R::Randomness(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why.to_string(), "look at the machine's random source"),
        }
    }
}

impl From<Unacceptable> for Problem {
    fn from(why: Unacceptable) -> Problem {
        match why {
            Unacceptable::Closed => Problem::conflict(why.to_string()),
            _ => Problem::bad(why.to_string()),
        }
    }
}
