//! JSON-RPC 2.0 messages, as far as policy has to read them.

use super::json;
use rules::{
    access::{Action, Resource},
    mcp::{
        Method,
        code::{INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR},
        meta,
        rpc::{self, Members, Shape},
    },
    printable::printable,
};
use serde_json::{Map, Value};

/// Messages in one batch (2025-03-26 only).
const MAX_BATCH: usize = 100;

/// What a POST's body says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Envelope {
    pub(crate) messages: Vec<Message>,
    /// Whether it was an array.
    pub(crate) batch: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    /// Of a response: the text `(response)`.
    pub(crate) method: String,
    pub(crate) action: Action,
    pub(crate) resource: Resource,
    /// What `Mcp-Name` has to repeat in the 2026-07-28 revision.
    pub(crate) name: Option<String>,
    pub(crate) meta: Meta,
    /// SHA-256 of the parameters.
    pub(crate) params: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// With its id: a string or an integer.
    Request(Value),
    Notification,
    Response,
}

/// What makes a message one of the 2026-07-28 revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Meta {
    pub(crate) version: Option<String>,
    pub(crate) capabilities: bool,
}

/// Why a body is no message, and the JSON-RPC code and id to say it with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Malformed {
    pub(crate) code: i64,
    pub(crate) why: String,
    pub(crate) id: Option<Value>,
}

impl Message {
    pub(crate) fn id(&self) -> Option<&Value> {
        match &self.kind {
            Kind::Request(id) => Some(id),
            Kind::Notification | Kind::Response => None,
        }
    }
}

impl Envelope {
    pub(crate) fn read(body: &[u8], depth: usize) -> Result<Envelope, Malformed> {
        let value = json::parse(body, depth).map_err(|why| malformed(PARSE_ERROR, format!("the body cannot be read as JSON: {why}")))?;
        match value {
            Value::Object(object) => Ok(Envelope { messages: vec![message(object)?], batch: false }),
            Value::Array(items) => batch(items),
            _ => Err(malformed(INVALID_REQUEST, "the body is neither an object nor an array of objects")),
        }
    }

    pub(crate) fn request_ids(&self) -> impl Iterator<Item = &Value> {
        self.messages.iter().filter_map(Message::id)
    }

    /// Whether an answer may hold a list of tools.
    pub(crate) fn lists_tools(&self) -> bool {
        self.messages.iter().any(|m| m.method == Method::ToolsList.as_str())
    }
}

fn batch(items: Vec<Value>) -> Result<Envelope, Malformed> {
    if items.is_empty() || items.len() > MAX_BATCH {
        return Err(malformed(INVALID_REQUEST, format!("a batch holds 1 to {MAX_BATCH} messages, not {}", items.len())));
    }
    let mut messages = Vec::with_capacity(items.len());
    for item in items {
        let Value::Object(object) = item else {
            return Err(malformed(INVALID_REQUEST, "a batch holds objects only"));
        };
        let message = message(object)?;
        if message.method == Method::Initialize.as_str() {
            return Err(malformed(INVALID_REQUEST, "`initialize` must not be part of a batch"));
        }
        messages.push(message);
    }
    Ok(Envelope { messages, batch: true })
}

fn message(object: Map<String, Value>) -> Result<Message, Malformed> {
    let id = object.get("id").filter(|id| is_id(id)).cloned();
    let fail = |code, why: String| Err(Malformed { code, why, id: id.clone() });
    if let Some(odd) = near_miss(&object, &rpc::MEMBERS) {
        return fail(INVALID_REQUEST, format!("`{odd}` differs from a JSON-RPC member only by its spelling"));
    }
    if object.get("jsonrpc").and_then(Value::as_str) != Some(rpc::VERSION) {
        return fail(INVALID_REQUEST, "`jsonrpc` must be \"2.0\"".into());
    }
    let method = object.get("method");
    let members = Members {
        id: object.contains_key("id"),
        method: method.is_some(),
        result: object.contains_key("result"),
        error: object.contains_key("error"),
    };
    let method = match (members.strictly(), method) {
        (Some(Shape::Request | Shape::Notification), Some(Value::String(m))) => m,
        (Some(Shape::Result | Shape::Error), _) if id.is_some() => return Ok(response(&object)),
        _ => return fail(INVALID_REQUEST, "a message has either a `method`, or an `id` with `result` or `error`".into()),
    };
    if let Err(why) = plain_method(method) {
        return fail(INVALID_REQUEST, why);
    }
    let kind = match (members.id, &id) {
        (false, _) => Kind::Notification,
        (true, Some(id)) => Kind::Request(id.clone()),
        (true, None) => return fail(INVALID_REQUEST, "`id` must be a string or an integer".into()),
    };
    let none = Map::new();
    let params = match object.get("params") {
        None => &none,
        Some(Value::Object(p)) => p,
        Some(_) => return fail(INVALID_PARAMS, "`params` must be an object".into()),
    };
    if let Some(odd) = near_miss(params, &["name", "arguments", "uri", "taskId", "_meta"]) {
        return fail(INVALID_PARAMS, format!("`params.{odd}` differs from a member the protocol defines only by its spelling"));
    }
    let Ok(meta) = metadata(params) else {
        return fail(INVALID_PARAMS, "`params._meta` must be an object whose keys are spelt as the protocol spells them".into());
    };
    let known = Method::parse(method);
    let name = known.and_then(Method::named_by).and_then(|key| text(params, key));
    let (action, resource) = (Action::of(method), resource(known, params));
    if action == Action::CallTool && resource.tool().is_none() {
        return fail(INVALID_PARAMS, "`params.name` must name the tool to call".into());
    }
    let digest = object.get("params").map(json::digest).unwrap_or_default();
    Ok(Message { kind, method: method.clone(), action, resource, name, meta, params: digest })
}

fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// The resource that the parameters name; the server itself when they name none.
fn resource(method: Option<Method>, params: &Map<String, Value>) -> Resource {
    let named = match method {
        Some(Method::ToolsCall) => text(params, "name").map(Resource::Tool),
        Some(Method::PromptsGet) => text(params, "name").map(Resource::Prompt),
        Some(Method::ResourcesRead | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe) => text(params, "uri").map(Resource::Uri),
        Some(Method::TasksGet | Method::TasksResult | Method::TasksUpdate | Method::TasksCancel) => {
            text(params, "taskId").map(Resource::Task)
        }
        Some(Method::Complete) => params.get("ref").and_then(Value::as_object).and_then(completed),
        _ => None,
    };
    named.unwrap_or(Resource::Server)
}

/// `params.ref` of a completion: a prompt by its name, or a resource template by its URI.
fn completed(reference: &Map<String, Value>) -> Option<Resource> {
    match reference.get("type").and_then(Value::as_str)? {
        "ref/prompt" => text(reference, "name").map(Resource::Prompt),
        "ref/resource" => text(reference, "uri").map(Resource::Template),
        _ => None,
    }
}

fn response(object: &Map<String, Value>) -> Message {
    let said = object.get("result").or(object.get("error"));
    Message {
        kind: Kind::Response,
        method: "(response)".into(),
        action: Action::Connect,
        resource: Resource::Server,
        name: None,
        meta: Meta::default(),
        params: said.map(json::digest).unwrap_or_default(),
    }
}

fn metadata(params: &Map<String, Value>) -> Result<Meta, ()> {
    let object = match params.get("_meta") {
        None => return Ok(Meta::default()),
        Some(Value::Object(object)) => object,
        Some(_) => return Err(()),
    };
    if near_miss(object, &[meta::PROTOCOL_VERSION, meta::CLIENT_CAPABILITIES]).is_some() {
        return Err(());
    }
    let version = object.get(meta::PROTOCOL_VERSION).map(|v| v.as_str().map(str::to_owned).ok_or(())).transpose()?;
    Ok(Meta { version, capabilities: object.get(meta::CLIENT_CAPABILITIES).is_some_and(Value::is_object) })
}

/// Ids are echoed, so they must survive: no fractions, nothing beyond 64 bits.
fn is_id(id: &Value) -> bool {
    matches!(id, Value::String(s) if s.len() <= 1024) || id.is_i64() || id.is_u64()
}

/// A method that merely looks like `tools/call` must not slip past the rule for tools.
fn plain_method(method: &str) -> Result<(), String> {
    const CALL: &str = Method::ToolsCall.as_str();
    let plain = (1..=128).contains(&method.len())
        && method.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'.' | b'$' | b':'));
    let impostor = method.eq_ignore_ascii_case(CALL) && method != CALL;
    match plain && !impostor {
        true => Ok(()),
        false => Err(format!("`{}` is not a method name", printable(method, 64))),
    }
}

/// A key that some parsers take for one of `known`: they ignore case, as Unicode folds it (`ſ` is an s, the Kelvin sign a k).
fn near_miss(object: &Map<String, Value>, known: &[&str]) -> Option<String> {
    let fold = |s: &str| s.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect::<String>();
    let odd = |key: &&String| !known.contains(&key.as_str()) && known.iter().any(|k| key.len() <= 3 * k.len() && fold(key) == fold(k));
    object.keys().find(odd).map(|key| printable(key, 64))
}

fn malformed(code: i64, why: impl Into<String>) -> Malformed {
    Malformed { code, why: why.into(), id: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Envelope, Malformed> {
        Envelope::read(text.as_bytes(), 64)
    }

    #[test]
    fn a_tool_call_names_its_tool() {
        let e =
            read(r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"echo","arguments":{"Name":"x","NAME":1}}}"#).unwrap();
        let m = e.messages.first().unwrap();
        assert_eq!((m.action, m.resource.clone(), m.id()), (Action::CallTool, Resource::Tool("echo".into()), Some(&Value::from("a"))));
    }

    #[test]
    fn every_message_names_the_resource_that_its_action_is_about() {
        for (method, params, action, resource) in [
            ("prompts/get", r#"{"name":"p"}"#, Action::GetPrompt, Resource::Prompt("p".into())),
            ("resources/read", r#"{"uri":"file:///a"}"#, Action::ReadResource, Resource::Uri("file:///a".into())),
            ("resources/subscribe", r#"{"uri":"file:///a"}"#, Action::Subscribe, Resource::Uri("file:///a".into())),
            ("tasks/result", r#"{"taskId":"t"}"#, Action::UseTask, Resource::Task("t".into())),
            ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"p"}}"#, Action::Complete, Resource::Prompt("p".into())),
            (
                "completion/complete",
                r#"{"ref":{"type":"ref/resource","uri":"f:/{a}"}}"#,
                Action::Complete,
                Resource::Template("f:/{a}".into()),
            ),
            ("completion/complete", r#"{"ref":{"type":"ref/tool","name":"rm"}}"#, Action::Complete, Resource::Server),
            ("ping", r#"{"name":"rm"}"#, Action::Connect, Resource::Server),
            ("vendor/own", r#"{"name":"rm"}"#, Action::Other, Resource::Server),
        ] {
            let envelope = read(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)).unwrap();
            let message = &envelope.messages[0];
            assert_eq!((message.action, &message.resource), (action, &resource), "{method} {params}");
        }
    }

    #[test]
    fn keys_that_a_careless_parser_could_take_for_ours_are_refused() {
        for bad in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","Name":"rm"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"rm"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","paramſ":{"name":"rm"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"NAME":"rm"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_Meta":{}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"io.modelcontextprotocol/ProtocolVersion":"2026-07-28"}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"Tools/Call","params":{"name":"rm"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call ","params":{"name":"rm"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["rm"]}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["rm"]}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn messages_are_requests_notifications_or_responses() {
        for bad in [
            r#"{"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1e30,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0"}"#,
            "[]",
            "[1]",
            r#"[{"jsonrpc":"2.0","id":1,"method":"initialize"}]"#,
            "7",
        ] {
            assert_eq!(read(bad).unwrap_err().code, INVALID_REQUEST, "{bad}");
        }
        let kinds = |text| read(text).unwrap().messages.into_iter().map(|m| m.kind).collect::<Vec<_>>();
        assert_eq!(
            kinds(r#"[{"jsonrpc":"2.0","id":7,"method":"ping"},{"jsonrpc":"2.0","method":"x"},{"jsonrpc":"2.0","id":1,"result":{}}]"#),
            [Kind::Request(7.into()), Kind::Notification, Kind::Response]
        );
    }

    #[test]
    fn what_is_no_json_says_so() {
        assert_eq!(read("{").unwrap_err().code, PARSE_ERROR);
        assert!(read(r#"{"jsonrpc":"2.0","method":"a","method":"b"}"#).unwrap_err().why.contains("twice"));
    }
}
