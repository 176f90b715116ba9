//! Rust's `Debug` is for the reader of the code. A person who reads a message, a page or a log line gets words that were chosen.

use super::code::for_tests;
use proc_macro2::{TokenStream, TokenTree};
use syn::{ItemMod, visit::Visit};

/// Macros whose text no user sees in a product that works.
const FOR_ENGINEERS: [&str; 10] =
    ["assert", "assert_eq", "assert_ne", "debug_assert", "debug_assert_eq", "debug_assert_ne", "panic", "unreachable", "debug", "trace"];
const LOGS: [&str; 4] = ["info", "warn", "error", "event"];

/// Places of a file where text for a user is made by `Debug`: line and text.
pub(super) fn debug_for_users(file: &syn::File) -> Vec<(usize, String)> {
    let mut found = Found(Vec::new());
    found.visit_file(file);
    found.0
}

struct Found(Vec<(usize, String)>);

impl Found {
    fn read(&mut self, tokens: TokenStream, log: bool) {
        let mut open = false;
        for token in tokens {
            // `?name` after a comma or `=` is tracing's way to ask for `Debug`.
            if let TokenTree::Ident(name) = &token
                && open
                && log
            {
                self.0.push((name.span().start().line, format!("?{name}")));
            }
            open = matches!(&token, TokenTree::Punct(p) if p.as_char() == '?');
            match token {
                TokenTree::Literal(text) => {
                    let said = text.to_string();
                    if [":?}", ":#?}", ":02x?}"].iter().any(|f| said.contains(f)) {
                        self.0.push((text.span().start().line, said));
                    }
                }
                TokenTree::Group(group) => self.read(group.stream(), log),
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item_mod(&mut self, inner: &'ast ItemMod) {
        if !for_tests(&inner.attrs) {
            syn::visit::visit_item_mod(self, inner);
        }
    }
    fn visit_item_fn(&mut self, f: &'ast syn::ItemFn) {
        if !for_tests(&f.attrs) {
            syn::visit::visit_item_fn(self, f);
        }
    }
    fn visit_item_impl(&mut self, i: &'ast syn::ItemImpl) {
        // An own `Debug` is for engineers too.
        let debug = i.trait_.as_ref().and_then(|(_, path, _)| path.segments.last()).is_some_and(|s| s.ident == "Debug");
        if !debug {
            syn::visit::visit_item_impl(self, i);
        }
    }
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let name = call.path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default();
        if !FOR_ENGINEERS.contains(&name.as_str()) {
            self.read(call.tokens.clone(), LOGS.contains(&name.as_str()));
        }
    }
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("error")
            && let syn::Meta::List(list) = &attribute.meta
        {
            self.read(list.tokens.clone(), false);
        }
    }
}
