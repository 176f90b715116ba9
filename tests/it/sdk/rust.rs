//! A server on the Rust SDK. It is this test binary, started again as a process of its own.

use rmcp::{
    ServerHandler,
    handler::server::wrapper::Parameters,
    model::{ServerCapabilities, ServerConfig},
    schemars, tool, tool_handler, tool_router,
    transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager},
};
use std::net::{Ipv4Addr, SocketAddr};

/// Arguments to this binary that make it the server below.
pub(super) const AS_SERVER: [&str; 4] = ["--exact", "sdk::rust::serve", "--ignored", "--nocapture"];
pub(super) const PORT: &str = "GNOMON_RMCP_PORT";

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Question {
    q: String,
}

#[derive(Clone, Debug)]
struct Library;

#[tool_router]
impl Library {
    #[tool(description = "Find a book")]
    fn find(&self, Parameters(Question { q }): Parameters<Question>) -> String {
        format!("found {q}")
    }

    #[tool(description = "Count silently")]
    fn count(&self) -> String {
        "counted".to_owned()
    }

    #[tool(description = "What no grant should allow")]
    fn erase(&self, Parameters(Question { q }): Parameters<Question>) -> String {
        format!("erased {q}")
    }
}

#[tool_handler]
impl ServerHandler for Library {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}

#[test]
#[ignore = "not a test: the server that other tests start"]
fn serve() {
    let Ok(port) = std::env::var(PORT) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = StreamableHttpServerConfig::default().disable_allowed_hosts();
        let service: StreamableHttpService<Library, LocalSessionManager> =
            StreamableHttpService::new(|| Ok(Library), Default::default(), config);
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port.parse().unwrap()));
        let listener = tokio::net::TcpListener::bind(at).await.unwrap();
        axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await.unwrap();
    });
}
