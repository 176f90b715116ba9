//! The demo's cast: small honest MCP servers of both eras, and services that look like one and are not.
//! Each runs as a process of its own (`gnomon demo-cast ROLE`), so that sockets and processes are there to be found.

mod decoys;
mod sessions;
mod stateless;

use crate::failure::{Exit, Failure, Side};
use serde_json::{Value, json};
use std::{io, net::SocketAddr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// MCP 2025-11-25: `initialize`, sessions, a stream from the server.
    Sessions,
    /// MCP 2026-07-28: stateless.
    Stateless,
    /// Not MCP: an application that streams server-sent events.
    Events,
    /// Not MCP: a JSON-RPC service that has a method `initialize`.
    JsonRpc,
    /// Not MCP: a web site with documentation of MCP at `/mcp`.
    Docs,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    pub role: Role,
    #[arg(long, default_value = "[::]:3001")]
    pub listen: SocketAddr,
    /// What the server calls itself.
    #[arg(long, default_value = "cast")]
    pub name: String,
    #[arg(long = "tool")]
    pub tools: Vec<String>,
}

/// What an MCP server of the cast is and can.
#[derive(Debug)]
pub(crate) struct Part {
    name: String,
    tools: Vec<String>,
}

/// Serves until the process is ended.
pub fn run(args: Args) -> Result<Exit, Failure> {
    let listen = args.listen;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.and_then(|r| r.block_on(serve(args))).map(|()| Exit::Clear).map_err(|why| {
        Failure::new(Side::Machine, format!("cannot serve at {listen}: {why}"), "choose another address or port with --listen")
    })
}

async fn serve(args: Args) -> io::Result<()> {
    let part = Part { name: args.name, tools: args.tools };
    let app = match args.role {
        Role::Sessions => sessions::app(part),
        Role::Stateless => stateless::app(part),
        Role::Events => decoys::events(),
        Role::JsonRpc => decoys::json_rpc(),
        Role::Docs => decoys::docs(),
    };
    let listener = tokio::net::TcpListener::bind(args.listen).await?;
    axum::serve(listener, app).await
}

impl Part {
    fn implementation(&self) -> Value {
        json!({"name": self.name, "version": "1.2.0"})
    }

    fn listed(&self) -> Value {
        let tool = |name: &String| {
            json!({"name": name, "description": format!("{name} of {}", self.name),
                   "inputSchema": {"type": "object", "properties": {"q": {"type": "string"}}}})
        };
        Value::Array(self.tools.iter().map(tool).collect())
    }

    /// The content of a call's result; `None`: no such tool.
    fn call(&self, params: &Value) -> Option<Value> {
        let tool = params.get("name")?.as_str()?;
        let q = params.pointer("/arguments/q").and_then(Value::as_str).unwrap_or_default();
        let known = self.tools.iter().any(|t| t == tool);
        known.then(|| json!([{"type": "text", "text": format!("{}: {tool}({}) done", self.name, json!(q))}]))
    }
}

fn answer(id: &Value, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

fn complaint(id: &Value, code: i64, message: &str, data: Option<Value>) -> Value {
    let mut error = json!({"code": code, "message": message});
    if let (Some(data), Some(error)) = (data, error.as_object_mut()) {
        error.insert("data".to_owned(), data);
    }
    json!({"jsonrpc": "2.0", "id": id, "error": error})
}
