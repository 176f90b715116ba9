//! The size of a file, of a function, and of a struct that keeps state.

use super::code::{Krate, for_tests};
use std::collections::BTreeSet;
use syn::{Fields, FnArg, ImplItem, Item, ItemImpl, ItemMod, ItemStruct, Type, spanned::Spanned, visit::Visit};

pub(super) struct Function {
    pub(super) name: String,
    pub(super) lines: usize,
}

/// The functions of a file without its tests.
pub(super) fn functions(file: &syn::File) -> Vec<Function> {
    let mut found = Functions(Vec::new());
    found.visit_file(file);
    found.0
}

struct Functions(Vec<Function>);

impl Functions {
    fn note(&mut self, name: &syn::Ident, block: &syn::Block, from: usize) {
        self.0.push(Function { name: name.to_string(), lines: block.span().end().line + 1 - from });
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, inner: &'ast ItemMod) {
        if !for_tests(&inner.attrs) {
            syn::visit::visit_item_mod(self, inner);
        }
    }
    fn visit_item_fn(&mut self, f: &'ast syn::ItemFn) {
        if !for_tests(&f.attrs) {
            self.note(&f.sig.ident, &f.block, f.sig.span().start().line);
            syn::visit::visit_item_fn(self, f);
        }
    }
    fn visit_impl_item_fn(&mut self, f: &'ast syn::ImplItemFn) {
        self.note(&f.sig.ident, &f.block, f.sig.span().start().line);
        syn::visit::visit_impl_item_fn(self, f);
    }
}

/// Structs that keep state and have more than `most` fields. A struct keeps state when a method changes it (`&mut self`) or a field of
/// it is shared and changeable; configuration and plain records do neither.
pub(super) fn laden(krate: &Krate, most: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut changed = BTreeSet::new();
    for module in krate.modules.values() {
        let mut impls = Changed(&mut changed);
        impls.visit_file(&module.syntax);
    }
    for module in krate.modules.values() {
        let mut structs = Structs(Vec::new());
        structs.visit_file(&module.syntax);
        for s in structs.0.into_iter().filter(|s| s.fields.len() > most) {
            let name = s.ident.to_string();
            if changed.contains(&name) || shares(&s.fields) {
                found.push(format!("{}: {name} has {} fields", module.file.display(), s.fields.len()));
            }
        }
    }
    found
}

fn shares(fields: &Fields) -> bool {
    fields.iter().any(|f| {
        let mut words = Words(Vec::new());
        words.visit_type(&f.ty);
        words.0.iter().any(|w| {
            ["Mutex", "RwLock", "Cell", "RefCell", "Sender", "Receiver", "Notify"].contains(&w.as_str()) || w.starts_with("Atomic")
        })
    })
}

struct Words(Vec<String>);
impl<'ast> Visit<'ast> for Words {
    fn visit_ident(&mut self, i: &'ast syn::Ident) {
        self.0.push(i.to_string());
    }
}

struct Changed<'a>(&'a mut BTreeSet<String>);
impl<'ast> Visit<'ast> for Changed<'_> {
    fn visit_item_mod(&mut self, inner: &'ast ItemMod) {
        if !for_tests(&inner.attrs) {
            syn::visit::visit_item_mod(self, inner);
        }
    }
    fn visit_item_impl(&mut self, i: &'ast ItemImpl) {
        let Type::Path(of) = &*i.self_ty else { return };
        let changes = i.items.iter().any(|item| {
            let ImplItem::Fn(f) = item else { return false };
            matches!(f.sig.inputs.first(), Some(FnArg::Receiver(r)) if r.reference.is_some() && r.mutability.is_some())
        });
        if changes {
            self.0.extend(of.path.segments.last().map(|s| s.ident.to_string()));
        }
    }
}

struct Structs<'ast>(Vec<&'ast ItemStruct>);
impl<'ast> Visit<'ast> for Structs<'ast> {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Struct(s) => self.0.push(s),
            Item::Mod(m) if for_tests(&m.attrs) => {}
            _ => syn::visit::visit_item(self, item),
        }
    }
}
