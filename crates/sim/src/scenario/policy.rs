//! Memory policies of regions, from the scenario's names and node lists.

use numashock_machine::{NodeId, NodeMask, Policy};

use super::document::ScenarioError;
use super::file::{PolicyName, RegionTable};
use super::lower::Origin;

/// The nodes that the scenario gives a policy, if it gives any.
pub(super) fn mask(
    region: &RegionTable,
    nodes: usize,
    key: &str,
    origin: Origin<'_>,
) -> Result<Option<NodeMask>, ScenarioError> {
    let Some(list) = &region.nodes else { return Ok(None) };
    let wrong = |problem: String| Err(origin.error(&format!("{key}.nodes"), problem));
    if matches!(region.policy, PolicyName::Default | PolicyName::Local | PolicyName::Preferred) {
        return wrong("this policy takes no mask; remove the key, or set another policy".to_owned());
    }
    if list.is_empty() {
        return wrong("expected at least one node; leave the key out for the policy's own".to_owned());
    }
    match list.iter().find(|node| usize::from(**node) >= nodes) {
        Some(node) => wrong(format!("node {node} does not exist: the machine has nodes 0 to {}", nodes - 1)),
        None => Ok(Some(NodeMask(list.iter().fold(0, |mask, node| mask | 1 << node)))),
    }
}

/// The machine's policy of that name: of these nodes, or of its own.
pub(super) fn policy(name: PolicyName, node: NodeId, mask: Option<NodeMask>, all: NodeMask) -> Policy {
    let over = mask.unwrap_or(all);
    match name {
        PolicyName::Default => Policy::Default,
        PolicyName::Bind => Policy::Bind(mask.unwrap_or(NodeMask::only(node))),
        PolicyName::BindBalancing => Policy::BindBalancing(over),
        PolicyName::Preferred => Policy::Preferred(node),
        PolicyName::PreferredMany => Policy::PreferredMany(over),
        PolicyName::PreferredManyBalancing => Policy::PreferredManyBalancing(over),
        PolicyName::Interleave => Policy::Interleave(over),
        PolicyName::WeightedInterleave => Policy::WeightedInterleave(over),
        PolicyName::Local => Policy::Local,
    }
}
