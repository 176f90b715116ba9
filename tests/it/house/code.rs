//! The workspace's own code as this test reads it: which file is which module, and what each file needs of the others.

use proc_macro2::{TokenStream, TokenTree};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use syn::{Attribute, File, Item, ItemMod, UseTree, visit::Visit};

/// A module's path inside its crate: `["wire", "v1"]`; the crate's root is the empty one.
pub(super) type ModulePath = Vec<String>;

/// A file of a crate, as the compiler sees it without `cfg(test)`.
pub(super) struct Module {
    pub(super) file: PathBuf,
    pub(super) syntax: File,
}

pub(super) struct Krate {
    pub(super) modules: BTreeMap<ModulePath, Module>,
    /// Module -> name it shows -> the path that the name stands for. A name that is defined there is absent.
    shows: BTreeMap<ModulePath, BTreeMap<String, ModulePath>>,
}

impl Krate {
    /// Reads a crate from its root file, following `mod` as the compiler does, without tests.
    pub(super) fn read(root: &Path) -> Self {
        let mut krate = Self { modules: BTreeMap::new(), shows: BTreeMap::new() };
        krate.add(Vec::new(), root.to_owned(), root.parent().unwrap().to_owned());
        krate
    }

    fn add(&mut self, path: ModulePath, file: PathBuf, folder: PathBuf) {
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let syntax = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let mut shows = BTreeMap::new();
        for item in &syntax.items {
            match item {
                Item::Mod(inner) if inner.content.is_none() && !for_tests(&inner.attrs) => {
                    let name = inner.ident.to_string();
                    let flat = folder.join(format!("{name}.rs"));
                    let file = if flat.exists() { flat } else { folder.join(&name).join("mod.rs") };
                    let child = [path.as_slice(), std::slice::from_ref(&name)].concat();
                    self.add(child, file, folder.join(&name));
                }
                Item::Use(shown) if !for_tests(&shown.attrs) => {
                    for (leaf, name) in leaves(&shown.tree) {
                        shows.insert(name, leaf);
                    }
                }
                _ => {}
            }
        }
        self.shows.insert(path.clone(), shows);
        self.modules.insert(path, Module { file, syntax });
    }

    /// The modules that a module needs: each path it names, followed through re-exports to the file that defines it.
    pub(super) fn needs(&self, module: &ModulePath) -> BTreeSet<ModulePath> {
        let mut named = Named::default();
        named.visit_file(&self.modules[module].syntax);
        named.paths.iter().filter_map(|p| self.resolve(module, p, 0)).filter(|m| m != module).collect()
    }

    /// The module in which a path ends, seen from a module; `None` for what belongs to another crate.
    fn resolve(&self, from: &ModulePath, path: &[String], depth: usize) -> Option<ModulePath> {
        if depth > 12 {
            return None;
        }
        let (mut at, rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (from.clone(), &path[1..]),
            "super" => {
                let up = path.iter().take_while(|s| *s == "super").count();
                (from[..from.len().checked_sub(up)?].to_vec(), &path[up..])
            }
            first => {
                let child = [from.as_slice(), &[first.to_owned()]].concat();
                if self.modules.contains_key(&child) {
                    (from.clone(), path)
                } else {
                    let shown = self.shows.get(from)?.get(first)?;
                    if shown.first().is_some_and(|s| s == first) && shown.len() == 1 {
                        return None;
                    }
                    let whole = [shown.as_slice(), &path[1..]].concat();
                    return self.resolve(from, &whole, depth + 1);
                }
            }
        };
        for (i, segment) in rest.iter().enumerate() {
            let child = [at.as_slice(), std::slice::from_ref(segment)].concat();
            if self.modules.contains_key(&child) {
                at = child;
                continue;
            }
            // Not a module: defined here, or shown here and defined elsewhere.
            if let Some(shown) = self.shows.get(&at).and_then(|s| s.get(segment)) {
                let whole = [shown.as_slice(), &rest[i + 1..]].concat();
                if let Some(found) = self.resolve(&at, &whole, depth + 1) {
                    return Some(found);
                }
            }
            break;
        }
        Some(at)
    }
}

/// Every path that a file names, with the name under which `use` brings it in.
#[derive(Default)]
struct Named {
    paths: Vec<Vec<String>>,
}

impl<'ast> Visit<'ast> for Named {
    fn visit_item_mod(&mut self, inner: &'ast ItemMod) {
        if !for_tests(&inner.attrs) {
            syn::visit::visit_item_mod(self, inner);
        }
    }

    fn visit_item_use(&mut self, brought: &'ast syn::ItemUse) {
        if !for_tests(&brought.attrs) {
            self.paths.extend(leaves(&brought.tree).into_iter().map(|(path, _)| path));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.paths.push(path.segments.iter().map(|s| s.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        paths_in(call.tokens.clone(), &mut self.paths);
    }
}

/// Paths inside a macro's arguments, which have no syntax of their own.
fn paths_in(tokens: TokenStream, found: &mut Vec<Vec<String>>) {
    let mut open: Vec<String> = Vec::new();
    let mut colons = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(name) if open.is_empty() || colons == 2 => {
                open.push(name.to_string());
                colons = 0;
                continue;
            }
            TokenTree::Punct(p) if p.as_char() == ':' && !open.is_empty() => {
                colons += 1;
                continue;
            }
            TokenTree::Group(group) => paths_in(group.stream(), found),
            TokenTree::Ident(name) => {
                found.push(std::mem::replace(&mut open, vec![name.to_string()]));
                colons = 0;
                continue;
            }
            _ => {}
        }
        if !open.is_empty() {
            found.push(std::mem::take(&mut open));
        }
        colons = 0;
    }
    if !open.is_empty() {
        found.push(open);
    }
}

/// The paths of a `use`, each with the name that it brings in (`*` brings in the module).
fn leaves(tree: &UseTree) -> Vec<(ModulePath, String)> {
    match tree {
        UseTree::Path(step) => {
            let name = step.ident.to_string();
            leaves(&step.tree).into_iter().map(|(rest, shown)| ([vec![name.clone()], rest].concat(), shown)).collect()
        }
        UseTree::Name(leaf) if leaf.ident == "self" => vec![(Vec::new(), "self".to_owned())],
        UseTree::Name(leaf) => vec![(vec![leaf.ident.to_string()], leaf.ident.to_string())],
        UseTree::Rename(leaf) => vec![(vec![leaf.ident.to_string()], leaf.rename.to_string())],
        UseTree::Glob(_) => vec![(Vec::new(), "*".to_owned())],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

/// Compiled for tests alone.
pub(super) fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|a| {
        if a.path().is_ident("test") {
            return true;
        }
        let syn::Meta::List(list) = &a.meta else { return false };
        list.path.is_ident("cfg") && list.tokens.clone().into_iter().any(|t| matches!(t, TokenTree::Ident(i) if i == "test"))
    })
}

/// Groups of modules that need each other in a circle; a module, its parents and its children count as one family.
pub(super) fn circles(krate: &Krate) -> Vec<Vec<String>> {
    let names: Vec<&ModulePath> = krate.modules.keys().collect();
    let family = |a: &ModulePath, b: &ModulePath| a.starts_with(b) || b.starts_with(a);
    let edges: BTreeMap<&ModulePath, Vec<ModulePath>> =
        names.iter().map(|m| (*m, krate.needs(m).into_iter().filter(|n| !family(m, n)).collect())).collect();
    let reach = |from: &ModulePath| {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&ModulePath> = edges[from].iter().collect();
        while let Some(next) = open.pop() {
            if seen.insert(next.clone()) {
                open.extend(edges[next].iter());
            }
        }
        seen
    };
    let reached: BTreeMap<&ModulePath, BTreeSet<ModulePath>> = names.iter().map(|m| (*m, reach(m))).collect();
    let mut done = BTreeSet::new();
    let mut found = Vec::new();
    for module in names {
        if !reached[module].contains(module) || done.contains(module) {
            continue;
        }
        let ring: Vec<&ModulePath> = reached[module].iter().filter(|o| reached[*o].contains(module)).collect();
        done.extend(ring.iter().map(|m| (*m).clone()));
        let lines = ring.iter().map(|m| {
            let to: Vec<String> = edges[*m].iter().filter(|n| ring.contains(n)).map(|n| n.join("::")).collect();
            format!("{} -> {}", m.join("::"), to.join(", "))
        });
        found.push(lines.collect());
    }
    found
}
