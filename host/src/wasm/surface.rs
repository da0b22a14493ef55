//! The typed interfaces of a component and of the contract, read with the tools that made them.

use std::{collections::BTreeMap, panic};

use wasmparser::{Parser, Payload};
use wit_parser::{
    Handle, InterfaceId, Resolve, Type, TypeDefKind, TypeId, WorldId, WorldItem, WorldKey,
    decoding::{DecodedWasm, decode},
};

use super::inspect;
use crate::{
    model::{
        id::Digest,
        surface::{Function, Interface, Shape, Surface},
    },
    ports::invoker::LoadError,
};

/// The contract, as plugins are built against it.
const CONTRACT: [(&str, &str); 4] = [
    ("envelope.wit", include_str!("../../../wit/envelope.wit")),
    ("exports.wit", include_str!("../../../wit/exports.wit")),
    ("imports.wit", include_str!("../../../wit/imports.wit")),
    ("worlds.wit", include_str!("../../../wit/worlds.wit")),
];

/// Parts of types that one component may have, aliases resolved. The contract has some hundreds: a type made of itself
/// over and over must not fill the memory.
const PARTS_LIMIT: usize = 50_000;

/// The section in which `cargo auditable` leaves the list of dependencies.
const SBOM_SECTION: &str = ".dep-v0";

/// Reads what a component imports and exports. Validates it, but compiles nothing.
///
/// # Errors
/// If the bytes are not a component, or its types cannot be read.
pub fn surface(wasm: &[u8]) -> Result<Surface, LoadError> {
    inspect::inspect(wasm)?;
    let wrong = |problem: String| LoadError::NotAComponent { problem };
    // The decoder is made for what toolchains write, and these bytes are anybody's.
    let decoded = panic::catch_unwind(|| decode(wasm))
        .map_err(|_| wrong("its types cannot be read".to_owned()))?
        .map_err(|error| wrong(format!("its types cannot be read: {error:#}")))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(wrong("it is a WIT package, not a component".to_owned()));
    };
    let mut surface = of_world(&resolve, world).map_err(wrong)?;
    surface.sbom = sbom(wasm);
    Ok(surface)
}

/// The contract: `imports` is what the hub gives, `exports` what it can call, each interface whole.
///
/// # Errors
/// If the contract's own files do not hold; a test keeps that from being released.
pub fn contract() -> Result<Surface, String> {
    let mut map = wit_parser::SourceMap::new();
    CONTRACT.iter().for_each(|(name, text)| map.push_str(name, *text));
    let group = map.parse().map_err(|(_, error)| format!("{error:?}"))?;
    let mut resolve = Resolve::default();
    let package = resolve.push_group(group).map_err(|error| format!("{error:?}"))?;
    let worlds: Vec<WorldId> =
        resolve.packages.get(package).map(|package| package.worlds.values().copied().collect()).unwrap_or_default();
    let mut all = Surface::default();
    for world in worlds {
        let of = of_world(&resolve, world)?;
        all.imports.extend(of.imports);
        all.exports.extend(of.exports);
    }
    Ok(all)
}

fn of_world(resolve: &Resolve, world: WorldId) -> Result<Surface, String> {
    let world = resolve.worlds.get(world).ok_or("it has no world")?;
    let mut reader = Reader { resolve, parts: 0 };
    Ok(Surface {
        imports: reader.items(world.imports.iter())?,
        exports: reader.items(world.exports.iter())?,
        sbom: None,
    })
}

struct Reader<'a> {
    resolve: &'a Resolve,
    parts: usize,
}

impl Reader<'_> {
    fn items<'a>(
        &mut self,
        items: impl Iterator<Item = (&'a WorldKey, &'a WorldItem)>,
    ) -> Result<BTreeMap<String, Interface>, String> {
        let mut found = BTreeMap::new();
        for (key, item) in items {
            let name = self.name(key);
            match item {
                WorldItem::Interface { id, .. } => drop(found.insert(name, self.interface(*id)?)),
                WorldItem::Function(function) => {
                    let function = self.function(function)?;
                    found.insert(name.clone(), Interface::from([(name, function)]));
                }
                WorldItem::Type { .. } => {}
            }
        }
        Ok(found)
    }

    fn name(&self, key: &WorldKey) -> String {
        match key {
            WorldKey::Name(name) => name.clone(),
            WorldKey::Interface(id) => {
                let interface = self.resolve.interfaces.get(*id);
                let named = interface.filter(|interface| interface.package.is_some());
                named.and_then(|_| self.resolve.id_of(*id)).unwrap_or_default()
            }
        }
    }

    fn interface(&mut self, id: InterfaceId) -> Result<Interface, String> {
        let Some(interface) = self.resolve.interfaces.get(id) else { return Ok(Interface::new()) };
        // WASI's own types are the host's to check when it links; they are many, and nobody reads them here.
        let package = interface.package.and_then(|package| self.resolve.packages.get(package));
        let typed = package.is_none_or(|package| package.name.namespace != "wasi");
        let functions = interface.functions.iter();
        functions
            .map(|(name, function)| {
                let function = if typed { self.function(function)? } else { Function::default() };
                Ok((name.clone(), function))
            })
            .collect()
    }

    fn function(&mut self, function: &wit_parser::Function) -> Result<Function, String> {
        let params = function.params.iter();
        let params = params.map(|param| Ok((param.name.clone(), self.shape(param.ty)?))).collect::<Result<_, String>>();
        let result = function.result.map(|result| self.shape(result)).transpose()?;
        Ok(Function { params: params?, result })
    }

    fn shape(&mut self, of: Type) -> Result<Shape, String> {
        self.parts += 1;
        if self.parts > PARTS_LIMIT {
            return Err(format!("its types have more than {PARTS_LIMIT} parts"));
        }
        let simple = |name: &str| Ok(Shape::Simple(name.to_owned()));
        match of {
            Type::Bool => simple("bool"),
            Type::U8 => simple("u8"),
            Type::U16 => simple("u16"),
            Type::U32 => simple("u32"),
            Type::U64 => simple("u64"),
            Type::S8 => simple("s8"),
            Type::S16 => simple("s16"),
            Type::S32 => simple("s32"),
            Type::S64 => simple("s64"),
            Type::F32 => simple("f32"),
            Type::F64 => simple("f64"),
            Type::Char => simple("char"),
            Type::String => simple("string"),
            Type::ErrorContext => simple("error-context"),
            Type::Id(id) => self.defined(id),
        }
    }

    fn defined(&mut self, id: TypeId) -> Result<Shape, String> {
        let resolve = self.resolve;
        let Some(defined) = resolve.types.get(id) else { return Err("a type is missing".to_owned()) };
        let name = || defined.name.clone().unwrap_or_else(|| "unnamed".to_owned());
        Ok(match &defined.kind {
            TypeDefKind::Type(of) => self.shape(*of)?,
            TypeDefKind::List(item) => Shape::List(Box::new(self.shape(*item)?)),
            TypeDefKind::Option(item) => Shape::Option(Box::new(self.shape(*item)?)),
            TypeDefKind::Result(result) => {
                let mut part = |of: Option<Type>| of.map(|of| self.shape(of).map(Box::new)).transpose();
                Shape::Result(part(result.ok)?, part(result.err)?)
            }
            TypeDefKind::Tuple(tuple) => {
                Shape::Tuple(tuple.types.iter().map(|item| self.shape(*item)).collect::<Result<_, _>>()?)
            }
            TypeDefKind::Record(record) => {
                let fields = record.fields.iter().map(|field| Ok((field.name.clone(), self.shape(field.ty)?)));
                Shape::Record(name(), fields.collect::<Result<_, String>>()?)
            }
            TypeDefKind::Variant(variant) => {
                let cases = variant.cases.iter().map(|case| {
                    let of = case.ty.map(|of| self.shape(of)).transpose()?;
                    Ok((case.name.clone(), of))
                });
                Shape::Variant(name(), cases.collect::<Result<_, String>>()?)
            }
            TypeDefKind::Enum(cases) => Shape::Enum(name(), cases.cases.iter().map(|case| case.name.clone()).collect()),
            TypeDefKind::Flags(flags) => {
                Shape::Flags(name(), flags.flags.iter().map(|flag| flag.name.clone()).collect())
            }
            TypeDefKind::Handle(Handle::Own(of) | Handle::Borrow(of)) => {
                let of = resolve.types.get(*of).and_then(|of| of.name.clone()).unwrap_or_default();
                Shape::Simple(format!("{}<{of}>", defined.kind.as_str()))
            }
            other => Shape::Simple(other.as_str().to_owned()),
        })
    }
}

/// The digest of an embedded bill of materials. Guests are nested, so it is looked for at any depth.
fn sbom(wasm: &[u8]) -> Option<Digest> {
    Parser::new(0).parse_all(wasm).map_while(Result::ok).find_map(|payload| match payload {
        Payload::CustomSection(section) if section.name() == SBOM_SECTION => Some(Digest::of(section.data())),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
    use wit_parser::{ManglingAndAbi, Resolve};

    use super::{CONTRACT, contract, surface};
    use crate::model::surface::Shape;

    /// A component that has this world and does nothing.
    fn component(text: &str, world: &str) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("test.wit", text).expect("WIT");
        let world = resolve.select_world(&[package], Some(world)).expect("world");
        let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embedded");
        ComponentEncoder::default().module(&module).expect("module").encode().expect("component")
    }

    fn whole_contract() -> String {
        let head = "package crossdock:plugin@1.0.0;";
        let bodies: Vec<String> = CONTRACT.iter().map(|(_, text)| text.replacen(head, "", 1)).collect();
        format!("{head}\n{}", bodies.join("\n"))
    }

    #[test]
    fn the_contract_is_read_whole() {
        let contract = contract().expect("holds");
        let exports: Vec<&str> = contract.exports.keys().map(String::as_str).collect();
        assert_eq!(exports.len(), 7, "{exports:?}");
        let evaluate = &contract.exports["crossdock:plugin/rule@1.0.0"]["evaluate"];
        assert_eq!(evaluate.result.as_ref().map(ToString::to_string).as_deref(), Some("result<verdict, failure>"));
        assert_eq!(contract.imports["crossdock:plugin/state@1.0.0"].len(), 5);
    }

    #[test]
    fn a_component_built_against_the_contract_has_its_types() {
        let built = surface(&component(&whole_contract(), "rule-plugin")).expect("read");
        let contract = contract().expect("holds");
        let rule = "crossdock:plugin/rule@1.0.0";
        assert_eq!(built.exports[rule], contract.exports[rule]);
        assert!(built.exports.len() == 1 && built.sbom.is_none());
    }

    #[test]
    fn another_type_is_seen_for_what_it_is() {
        let text = whole_contract().replace("    target: option<string>,", "    target: u32,");
        let built = surface(&component(&text, "rule-plugin")).expect("read");
        let evaluate = &built.exports["crossdock:plugin/rule@1.0.0"]["evaluate"];
        let Some(Shape::Result(Some(verdict), _)) = &evaluate.result else { panic!("{evaluate:?}") };
        let Shape::Record(name, fields) = &**verdict else { panic!("{verdict:?}") };
        assert_eq!((name.as_str(), fields[1].1.to_string().as_str()), ("verdict", "u32"));
    }

    #[test]
    fn types_made_of_types_made_of_types_do_not_fill_the_memory() {
        let mut text = "package acme:bomb;\ninterface deep {\n  record r0 { a: u8, b: u8 }\n".to_owned();
        for level in 1..20 {
            text.push_str(&format!("  record r{level} {{ a: r{0}, b: r{0} }}\n", level - 1));
        }
        text.push_str("  f: func() -> r19;\n}\nworld w { export deep; }\n");
        let result = std::panic::catch_unwind(|| component(&text, "w"));
        // The encoder itself refuses types of this size; if it does not, the reader does.
        if let Ok(wasm) = result {
            assert!(surface(&wasm).is_err());
        }
    }
}
