//! Whether a connection's reads may be published under a contract. Writes never are: to have something done, one sends an
//! event, and a pipeline with its approvals and its compensations does it.

use crate::model::{api::Publication, contract::OperationContract, manifest::Effect};

/// The longest that an answer is given again, seconds: a day.
pub const CACHE_S_MAX: u32 = 86_400;
/// The longest that it is given after that while the remote gives none, seconds: a week.
pub const STALE_S_MAX: u32 = 7 * 86_400;
/// The longest that a consumer waits, milliseconds.
pub const TIMEOUT_MS_MAX: u32 = 60_000;

/// Whether a publication holds against its contract.
///
/// # Errors
/// What does not, and what to change.
pub fn check(publication: &Publication, contract: &OperationContract) -> Result<(), String> {
    let reads = || {
        let reads = contract.operations.iter().filter(|(_, operation)| operation.effect == Effect::Read);
        let names: Vec<&str> = reads.map(|(name, _)| name.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    if publication.operations.is_empty() {
        return Err(format!("`operations` is empty; the reads of `{}` are: {}", contract.id, reads()));
    }
    for name in &publication.operations {
        match contract.operations.get(name).map(|operation| operation.effect) {
            Some(Effect::Read) => {}
            Some(Effect::Write) => {
                return Err(format!(
                    "operation `{name}` of `{}` is a write, and only reads are published ({}): to have something done, \
                     send an event to a pipeline",
                    contract.id,
                    reads()
                ));
            }
            None => {
                return Err(format!(
                    "contract `{}` has no operation `{name}`; its reads are: {}",
                    contract.id,
                    reads()
                ));
            }
        }
    }
    let bounded = [
        ("cache_s", publication.cache_s, CACHE_S_MAX),
        ("stale_if_error_s", publication.stale_if_error_s, STALE_S_MAX),
        ("timeout_ms", publication.timeout_ms.unwrap_or(1), TIMEOUT_MS_MAX),
    ];
    for (field, value, most) in bounded {
        if value > most {
            return Err(format!("`{field}` is {value}; at most {most} is taken"));
        }
    }
    if publication.timeout_ms == Some(0) {
        return Err("`timeout_ms` is 0, so that nothing could answer in time; leave it out".to_owned());
    }
    // RFC 9745, 3: a sunset is never before the deprecation.
    if let (Some(deprecated), Some(sunset)) = (publication.deprecated, publication.sunset)
        && sunset < deprecated
    {
        return Err(format!("`sunset` ({sunset}) is before `deprecated` ({deprecated}); give consumers time to move"));
    }
    if publication.successor.as_ref() == Some(&contract.id) {
        return Err("`successor` is the contract itself; name the one that consumers are to move to".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::model::{api::Publication, contract::OperationContract};

    const CONTRACT: &str = r#"{"id": "retail/erp-orders@1", "summary": "Orders", "operations": {
        "create_order": {"effect": "write", "summary": "Creates", "input": {}, "output": {}},
        "find_order": {"effect": "read", "summary": "Finds", "input": {}, "output": {}},
        "read_order": {"effect": "read", "summary": "Reads", "input": {}, "output": {}}}}"#;

    #[track_caller]
    fn refused(publication: &str, part: &str) {
        let contract: OperationContract = serde_json::from_str(CONTRACT).unwrap();
        let publication: Publication = toml::from_str(&format!("connection = \"erp\"\n{publication}")).unwrap();
        match check(&publication, &contract) {
            Ok(()) => assert_eq!(part, "", "it is taken"),
            Err(problem) => assert!(!part.is_empty() && problem.contains(part), "{problem}"),
        }
    }

    #[test]
    fn only_reads_that_there_are_can_be_published_within_bounds() {
        refused("operations = [\"read_order\", \"find_order\"]\ncache_s = 30\nstale_if_error_s = 600", "");
        refused("operations = []", "the reads of `retail/erp-orders@1` are: find_order, read_order");
        refused(
            "operations = [\"read_order\", \"create_order\"]",
            "operation `create_order` of `retail/erp-orders@1` is a write",
        );
        refused("operations = [\"get_order\"]", "has no operation `get_order`");
        refused("operations = [\"read_order\"]\ncache_s = 86401", "`cache_s` is 86401; at most 86400");
        refused("operations = [\"read_order\"]\nstale_if_error_s = 604801", "`stale_if_error_s`");
        refused("operations = [\"read_order\"]\ntimeout_ms = 0", "`timeout_ms` is 0");
        refused("operations = [\"read_order\"]\ntimeout_ms = 60001", "at most 60000");
        let times = "deprecated = \"2026-06-01T00:00:00Z\"\nsunset = \"2026-05-01T00:00:00Z\"";
        refused(&format!("operations = [\"read_order\"]\n{times}"), "is before `deprecated`");
        refused("operations = [\"read_order\"]\nsuccessor = \"retail/erp-orders@1\"", "the contract itself");
    }
}
