//! The actions of MCP and the resources they are about.

use crate::mcp::Method;

/// An action of a client at a server, by its effect. Several methods may stand for one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Everything that keeps a connection: `initialize`, `ping`, streams, the end of a session, notifications, responses.
    Connect,
    ListTools,
    CallTool,
    ListPrompts,
    GetPrompt,
    /// Also templates of resources.
    ListResources,
    ReadResource,
    /// `completion/complete`: suggestions for the argument of a prompt or of a resource template.
    Complete,
    /// To the changes of a resource, or of lists.
    Subscribe,
    SetLogLevel,
    /// Reads, changes or ends a task that runs at the server.
    UseTask,
    /// A request whose method no revision defines.
    Other,
}

impl Action {
    /// In text, for audit records: `call-tool`.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Connect => "connect",
            Action::ListTools => "list-tools",
            Action::CallTool => "call-tool",
            Action::ListPrompts => "list-prompts",
            Action::GetPrompt => "get-prompt",
            Action::ListResources => "list-resources",
            Action::ReadResource => "read-resource",
            Action::Complete => "complete",
            Action::Subscribe => "subscribe",
            Action::SetLogLevel => "set-log-level",
            Action::UseTask => "use-task",
            Action::Other => "other",
        }
    }

    /// The action of a request or notification with this method.
    pub fn of(method: &str) -> Action {
        match Method::parse(method) {
            Some(known) => Action::of_method(known),
            None => Action::Other,
        }
    }

    fn of_method(method: Method) -> Action {
        use Method::*;
        match method {
            ToolsList => Action::ListTools,
            ToolsCall => Action::CallTool,
            PromptsList => Action::ListPrompts,
            PromptsGet => Action::GetPrompt,
            ResourcesList | ResourceTemplatesList => Action::ListResources,
            ResourcesRead => Action::ReadResource,
            Method::Complete => Action::Complete,
            ResourcesSubscribe | ResourcesUnsubscribe | SubscriptionsListen => Action::Subscribe,
            SetLevel => Action::SetLogLevel,
            TasksList | TasksGet | TasksResult | TasksUpdate | TasksCancel => Action::UseTask,
            // Requests of servers go the other way; from a client they are what no server answers.
            Sample | RootsList | Elicit => Action::Other,
            Initialize
            | Ping
            | Discover
            | Initialized
            | RootsChanged
            | LogMessage
            | ToolsChanged
            | PromptsChanged
            | ResourcesChanged
            | ResourceUpdated
            | SubscriptionsAcknowledged
            | ElicitationComplete
            | TaskStatus
            | TaskChanged
            | Progress
            | Cancelled => Action::Connect,
        }
    }
}

/// The resource that an action is about, by the name the client gave it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// The server itself: the action names nothing in it.
    Server,
    Tool(String),
    Prompt(String),
    /// A resource of the server, by its URI.
    Uri(String),
    /// A template of resources, by its URI template (RFC 6570).
    Template(String),
    /// By its task id.
    Task(String),
}

impl Resource {
    /// The name of the tool, when the resource is one.
    pub fn tool(&self) -> Option<&str> {
        match self {
            Resource::Tool(name) => Some(name),
            _ => None,
        }
    }
}
