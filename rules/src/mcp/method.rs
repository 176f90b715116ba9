//! Methods of all revisions.

use std::fmt;

/// The side that sends a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    Client,
    Server,
    Either,
}

macro_rules! methods {
    ($($variant:ident = $name:literal by $sender:ident),+ $(,)?) => {
        /// A method that a published revision, or its extension for tasks, defines.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Method {
            $($variant),+
        }

        impl Method {
            pub const ALL: &[Method] = &[$(Method::$variant),+];

            /// The method of exactly this name.
            pub fn parse(name: &str) -> Option<Method> {
                match name {
                    $($name => Some(Method::$variant),)+
                    _ => None,
                }
            }

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Method::$variant => $name),+
                }
            }

            pub const fn sender(self) -> Sender {
                match self {
                    $(Method::$variant => Sender::$sender),+
                }
            }
        }
    };
}

methods! {
    Initialize = "initialize" by Client,
    Ping = "ping" by Either,
    Discover = "server/discover" by Client,
    SubscriptionsListen = "subscriptions/listen" by Client,
    ToolsList = "tools/list" by Client,
    ToolsCall = "tools/call" by Client,
    PromptsList = "prompts/list" by Client,
    PromptsGet = "prompts/get" by Client,
    ResourcesList = "resources/list" by Client,
    ResourceTemplatesList = "resources/templates/list" by Client,
    ResourcesRead = "resources/read" by Client,
    ResourcesSubscribe = "resources/subscribe" by Client,
    ResourcesUnsubscribe = "resources/unsubscribe" by Client,
    Complete = "completion/complete" by Client,
    SetLevel = "logging/setLevel" by Client,
    TasksList = "tasks/list" by Either,
    TasksGet = "tasks/get" by Either,
    TasksResult = "tasks/result" by Either,
    TasksUpdate = "tasks/update" by Either,
    TasksCancel = "tasks/cancel" by Either,
    Sample = "sampling/createMessage" by Server,
    RootsList = "roots/list" by Server,
    Elicit = "elicitation/create" by Server,
    Initialized = "notifications/initialized" by Client,
    RootsChanged = "notifications/roots/list_changed" by Client,
    LogMessage = "notifications/message" by Server,
    ToolsChanged = "notifications/tools/list_changed" by Server,
    PromptsChanged = "notifications/prompts/list_changed" by Server,
    ResourcesChanged = "notifications/resources/list_changed" by Server,
    ResourceUpdated = "notifications/resources/updated" by Server,
    SubscriptionsAcknowledged = "notifications/subscriptions/acknowledged" by Server,
    ElicitationComplete = "notifications/elicitation/complete" by Server,
    TaskStatus = "notifications/tasks/status" by Server,
    TaskChanged = "notifications/tasks" by Server,
    Progress = "notifications/progress" by Either,
    Cancelled = "notifications/cancelled" by Either,
}

impl Method {
    /// Common beginning of the names of all notifications.
    pub const NOTIFICATIONS: &str = "notifications/";

    /// Whether no other protocol is known to have a method of this name. LSP and others have `initialize` too, JSON-RPC services often have
    /// `ping`, and A2A has `tasks/…`.
    pub fn is_only_of_mcp(self) -> bool {
        use Method::{Initialize, Ping, TasksCancel, TasksGet, TasksList, TasksResult, TasksUpdate};
        !matches!(self, Initialize | Ping | TasksList | TasksGet | TasksResult | TasksUpdate | TasksCancel)
    }

    pub fn is_notification(self) -> bool {
        self.as_str().starts_with(Method::NOTIFICATIONS)
    }

    /// The member of `params` that names what the method is about, and that `Mcp-Name` repeats where a revision has that header.
    pub fn named_by(self) -> Option<&'static str> {
        match self {
            Method::ToolsCall | Method::PromptsGet => Some("name"),
            Method::ResourcesRead => Some("uri"),
            Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => Some("taskId"),
            _ => None,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
