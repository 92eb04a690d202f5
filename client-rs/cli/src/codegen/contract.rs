//! `contracts.yaml`: from the tree to a checked contract.
//!
//! Invariants: what it gives has passed [`Contract::check`]; every error names its line. What says
//! nothing about bytes (domains, sensitivity, order of messages) is read for its form alone.

use std::ops::RangeInclusive;

use ringfence_protocol::contract::{
    Contract, ContractError, Field, FieldType, MessageType, Number, Rule, TagRanges,
};

use super::yaml::{self, Entry, Node, Wrong, at, get, integer, only};
use crate::output::shown;

const TOP: [&str; 5] = ["schema", "tag_ranges", "messages", "domains", "invariants"];
const SCHEMA: [&str; 4] = ["id", "version", "min_compatible", "description"];
const RANGES: [&str; 3] = ["core", "app", "experimental"];
const DOMAIN: [&str; 3] = ["latency_slo_p99_ms", "error_rate_slo_pct", "description"];
const MESSAGE: [&str; 8] = [
    "tlv_type",
    "type_id",
    "domain",
    "description",
    "sensitivity",
    "log_payload",
    "required_prior_messages",
    "fields",
];
const FIELD: [&str; 4] = ["type", "description", "optional", "validation"];
const RULES: [&str; 5] = ["max_length", "min_length", "not_empty", "min", "max"];

/// The contract of a file, and warnings.
pub(super) fn read(text: &str) -> Result<(Contract, Vec<String>), Wrong> {
    checked(text).map_err(|wrong| shown(&wrong))
}

fn checked(text: &str) -> Result<(Contract, Vec<String>), Wrong> {
    let root = yaml::parse(text)?;
    let top = root.mapping("a contract")?;
    only(top, &TOP, "the top level")?;
    let mut contract = Contract::default();
    let Some(schema) = get(top, "schema") else {
        return at(root.line, "`schema` is missing: it has id and version");
    };
    read_schema(schema, &mut contract)?;
    if let Some(ranges) = get(top, "tag_ranges") {
        contract.ranges = read_ranges(ranges)?;
    }
    let domains = get(top, "domains").map(read_domains).transpose()?;
    let messages = match get(top, "messages") {
        Some(messages) => messages.mapping("`messages`")?,
        None => return at(root.line, "`messages` is missing"),
    };
    for entry in messages {
        contract.messages.push(read_message(entry, domains.as_deref(), messages)?);
    }
    let warnings = contract.check().map_err(|error| located(&error, top, messages))?;
    Ok((contract, warnings))
}

/// A check's error with the line of what it is about.
fn located(error: &ContractError, top: &[Entry], messages: &[Entry]) -> Wrong {
    let text = error.to_string();
    let path = text.split(':').next().unwrap_or_default();
    let (name, field) = path.split_once('.').unwrap_or((path, ""));
    let message = messages.iter().find(|entry| entry.key == name);
    let field = message.and_then(|entry| {
        let fields = get(entry.value.mapping("").ok()?, "fields")?.mapping("").ok()?;
        fields.iter().find(|entry| entry.key == field)
    });
    let key = field.or(message).or_else(|| top.iter().find(|entry| entry.key == name));
    match key {
        Some(entry) => format!("line {}: {text}", entry.line),
        None => text,
    }
}

fn read_schema(node: &Node, contract: &mut Contract) -> Result<(), Wrong> {
    let entries = node.mapping("`schema`")?;
    only(entries, &SCHEMA, "schema")?;
    let needed = |key: &str| match get(entries, key) {
        Some(node) => Ok(node),
        None => at(node.line, format!("`schema` has no `{key}`")),
    };
    contract.id = needed("id")?.number("schema.id", u32::MAX)?;
    contract.version = needed("version")?.number("schema.version", u16::MAX)?;
    contract.min_compatible = match get(entries, "min_compatible") {
        Some(least) => least.number("schema.min_compatible", u16::MAX)?,
        None => contract.version,
    };
    Ok(())
}

fn read_ranges(node: &Node) -> Result<TagRanges, Wrong> {
    let entries = node.mapping("`tag_ranges`")?;
    only(entries, &RANGES, "tag_ranges")?;
    let mut ranges = TagRanges::default();
    for Entry { key, value, .. } in entries {
        let range = read_range(value, key)?;
        match key.as_str() {
            "core" => ranges.core = range,
            "app" => ranges.app = range,
            _ => ranges.experimental = range,
        }
    }
    Ok(ranges)
}

fn read_range(node: &Node, key: &str) -> Result<RangeInclusive<u16>, Wrong> {
    let ends = node.plain().and_then(|text| {
        let (low, high) = text.split_once('-')?;
        Some(low.trim().parse().ok()?..=high.trim().parse().ok()?)
    });
    match ends {
        Some(range) => Ok(range),
        None => {
            at(node.line, format!("tag_ranges.{key} must be two numbers up to 65535: 1000-49999"))
        }
    }
}

fn read_domains(node: &Node) -> Result<Vec<&str>, Wrong> {
    let entries = node.mapping("`domains`")?;
    for Entry { key, value, .. } in entries {
        only(value.mapping("a domain")?, &DOMAIN, &format!("domain `{key}`"))?;
    }
    Ok(entries.iter().map(|entry| entry.key.as_str()).collect())
}

fn read_message(
    entry: &Entry,
    domains: Option<&[&str]>,
    all: &[Entry],
) -> Result<MessageType, Wrong> {
    let Entry { key: name, line, value } = entry;
    let entries = value.mapping(&format!("message `{name}`"))?;
    only(entries, &MESSAGE, &format!("message `{name}`"))?;
    let number = match (get(entries, "tlv_type"), get(entries, "type_id")) {
        (Some(node), None) | (None, Some(node)) => node,
        (None, None) => return at(*line, format!("message `{name}` has no `tlv_type`")),
        _ => return at(*line, format!("message `{name}` has `tlv_type` and `type_id`: keep one")),
    };
    if let (Some(node), Some(known)) = (get(entries, "domain"), domains) {
        let domain = node.text("domain")?;
        if !known.contains(&domain) {
            let all = known.join(", ");
            return at(node.line, format!("domain `{domain}` is none of `domains`: {all}"));
        }
    }
    if let Some(node) = get(entries, "required_prior_messages") {
        for prior in node.sequence("required_prior_messages")? {
            let prior_name = prior.text("a message's name")?;
            if !all.iter().any(|entry| entry.key == prior_name) {
                return at(prior.line, format!("there is no message `{prior_name}`"));
            }
        }
    }
    if let Some(node) = get(entries, "log_payload") {
        node.flag("log_payload")?;
    }
    let fields = match get(entries, "fields") {
        Some(node) => node.mapping(&format!("fields of `{name}`"))?,
        None => &[],
    };
    Ok(MessageType {
        name: name.clone(),
        type_id: number.number(&format!("type number of `{name}`"), u16::MAX)?,
        fields: fields.iter().map(|field| read_field(name, field)).collect::<Result<_, _>>()?,
        doc: read_doc(entries)?,
    })
}

fn read_doc(entries: &[Entry]) -> Result<String, Wrong> {
    let doc = get(entries, "description").map(|node| node.text("description")).transpose()?;
    Ok(doc.unwrap_or_default().trim().to_owned())
}

fn read_field(message: &str, entry: &Entry) -> Result<Field, Wrong> {
    let Entry { key: name, line, value } = entry;
    let path = format!("{message}.{name}");
    // `price: u64` is short for `price: {type: u64}`.
    let (entries, ty) = match &value.value {
        yaml::Value::Scalar { text, .. } if !text.is_empty() => (&[][..], Some(value)),
        _ => {
            let entries = value.mapping(&format!("field `{path}`"))?;
            (entries, get(entries, "type"))
        }
    };
    only(entries, &FIELD, &format!("field `{path}`"))?;
    let Some(ty) = ty else { return at(*line, format!("field `{path}` has no `type`")) };
    let rules = match get(entries, "validation") {
        Some(node) => read_rules(node, &path)?,
        None => Vec::new(),
    };
    let most = rules.iter().find_map(|(_, rule)| match rule {
        Rule::MaxLength(most) => Some(*most),
        _ => None,
    });
    let parsed = FieldType::parse(ty.text("a type")?, most);
    let mut parsed = parsed.or_else(|error| at(ty.line, format!("{path}: {error}")))?;
    let optional = get(entries, "optional").map(|node| node.flag("optional")).transpose()?;
    if optional == Some(true) && !matches!(parsed, FieldType::Option(_)) {
        parsed = FieldType::Option(Box::new(parsed));
    }
    let floats = matches!(parsed.inner(), FieldType::F32 | FieldType::F64);
    let rules = rules.into_iter().map(|(_, rule)| if floats { as_floats(rule) } else { rule });
    Ok(Field { name: name.clone(), ty: parsed, rules: rules.collect(), doc: read_doc(entries)? })
}

/// `min: 1` for a float is 1.0.
fn as_floats(rule: Rule) -> Rule {
    let float = |number| match number {
        Number::Int(value) => Number::Float(value as f64),
        other => other,
    };
    match rule {
        Rule::Min(number) => Rule::Min(float(number)),
        Rule::Max(number) => Rule::Max(float(number)),
        other => other,
    }
}

/// The rules with their lines: a list of mappings, or one mapping.
fn read_rules(node: &Node, path: &str) -> Result<Vec<(usize, Rule)>, Wrong> {
    let mut rules = Vec::new();
    let parts = match &node.value {
        yaml::Value::Mapping(_) => std::slice::from_ref(node),
        _ => node.sequence(&format!("validation of `{path}`"))?,
    };
    for part in parts {
        // `- not_empty` is short for `- not_empty: true`.
        if part.plain() == Some("not_empty") {
            rules.push((part.line, Rule::NotEmpty));
            continue;
        }
        if let Some(word) = part.plain() {
            yaml::known(part.line, word, &RULES, &format!("validation of `{path}`"))?;
            return at(part.line, format!("rule `{word}` of `{path}` needs a number: {word}: n"));
        }
        let entries = part.mapping("a rule")?;
        only(entries, &RULES, &format!("validation of `{path}`"))?;
        for entry in entries {
            rules.extend(read_rule(entry)?.map(|rule| (entry.line, rule)));
        }
    }
    Ok(rules)
}

fn read_rule(entry: &Entry) -> Result<Option<Rule>, Wrong> {
    let Entry { key, value, .. } = entry;
    Ok(Some(match key.as_str() {
        "max_length" => Rule::MaxLength(value.number(key, u16::MAX)?),
        "min_length" => Rule::MinLength(value.number(key, u16::MAX)?),
        "not_empty" => return Ok(value.flag(key)?.then_some(Rule::NotEmpty)),
        "min" => Rule::Min(read_number(value, key)?),
        _ => Rule::Max(read_number(value, key)?),
    }))
}

fn read_number(node: &Node, key: &str) -> Result<Number, Wrong> {
    let text = node.plain().unwrap_or_default();
    let float = || text.parse().ok().filter(|value: &f64| value.is_finite());
    match integer(text).map(Number::Int).or_else(|| float().map(Number::Float)) {
        Some(number) => Ok(number),
        None => at(node.line, format!("{key} must be a number")),
    }
}
