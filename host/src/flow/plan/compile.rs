//! From a checked definition to a plan. The checker has found every mistake before; what is refused here is only what
//! this release does not run yet, or an expression that no longer compiles.

use std::collections::{BTreeMap, HashMap};

use super::{Action, Block, BlockId, Node, NodeId, Outcomes, Plan, PluginRange, PureKind, Then, Trigger};
use crate::{
    flow::{
        document::Document,
        expression::{self, Expression},
        retry,
        template::{Part, Template},
    },
    model::{
        contract::OperationContract,
        entry::PipelineUse,
        id::{ContractId, Digest},
        json::Json,
        manifest::Effect,
        pipeline::{
            self as written, Definition,
            step::{Step, Then as WrittenThen},
        },
    },
};

/// A definition that cannot become a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// This release does not run it.
    #[error("step `{step}`: this release does not run {what} yet")]
    NotYet {
        /// The step.
        step: String,
        /// Which construct.
        what: &'static str,
    },
    /// An expression does not compile.
    #[error("step `{step}`: expression `{source_text}` does not compile")]
    Expression {
        /// The step, or the part of the pipeline.
        step: String,
        /// The expression.
        source_text: String,
        /// Why.
        source: expression::CompileError,
    },
    /// A call names what no contract has.
    #[error("step `{step}`: no operation `{operation}` in the contract of `{connection}`")]
    Operation {
        /// The step.
        step: String,
        /// The name in `uses`.
        connection: String,
        /// The operation.
        operation: String,
    },
}

/// Makes a plan.
///
/// # Errors
/// As [`PlanError`] says.
pub fn compile(
    definition: &Definition,
    text: &str,
    contracts: &BTreeMap<ContractId, OperationContract>,
) -> Result<Plan, PlanError> {
    let mut builder = Builder { definition, contracts, nodes: Vec::new(), blocks: Vec::new() };
    builder.block(None, &definition.steps)?;
    let triggers = definition
        .triggers
        .iter()
        .map(|trigger| {
            let filter = trigger.filter.as_ref().map(|filter| expression("trigger", filter)).transpose()?;
            Ok(Trigger { event_type: trigger.event.clone(), filter })
        })
        .collect::<Result<_, PlanError>>()?;
    let default_key = written::template::Expression { source: "event.id".into(), at: written::Place::default() };
    let key = expression("key", definition.key.as_ref().unwrap_or(&default_key))?;
    Ok(Plan {
        pipeline: PipelineUse {
            name: definition.name.value.clone(),
            version: definition.version.to_string(),
            digest: Digest::of(text.as_bytes()),
        },
        triggers,
        key,
        lane: definition.lane.as_ref().map(|lane| template("lane", lane)).transpose()?,
        config: Document::new(definition.config.clone()),
        ids: builder.nodes.iter().enumerate().map(|(number, node)| (node.id.clone(), NodeId(number))).collect(),
        nodes: builder.nodes,
        blocks: builder.blocks,
    })
}

struct Builder<'a> {
    definition: &'a Definition,
    contracts: &'a BTreeMap<ContractId, OperationContract>,
    nodes: Vec<Node>,
    blocks: Vec<Block>,
}

impl Builder<'_> {
    fn block(&mut self, parent: Option<BlockId>, steps: &[Step]) -> Result<BlockId, PlanError> {
        let id = self.open(parent);
        for step in steps {
            // The node's number is taken before its branches are built, so that numbers follow the text.
            let node = self.step(id, step)?;
            if let Some(block) = self.blocks.get_mut(id.0) {
                block.nodes.push(node);
                block.names.insert(step.id.clone(), node);
            }
        }
        Ok(id)
    }

    fn open(&mut self, parent: Option<BlockId>) -> BlockId {
        self.blocks.push(Block { parent, nodes: Vec::new(), names: HashMap::new() });
        BlockId(self.blocks.len() - 1)
    }

    /// A block without steps that sees the names of these blocks.
    fn inner(&mut self, parent: BlockId, branches: &[BlockId]) -> BlockId {
        let names = branches
            .iter()
            .filter_map(|branch| self.blocks.get(branch.0))
            .flat_map(|block| block.names.clone())
            .collect();
        let id = self.open(Some(parent));
        if let Some(block) = self.blocks.get_mut(id.0) {
            block.names = names;
        }
        id
    }

    fn step(&mut self, block: BlockId, step: &Step) -> Result<NodeId, PlanError> {
        refuse_what_does_not_run(step)?;
        let action = self.action(block, step)?;
        let retry = step.retry.as_ref().map_or_else(retry::Policy::default, |retry| retry::Policy {
            on: retry.on.clone(),
            attempts: retry.attempts,
            first_ms: retry.first_ms,
            factor_milli: thousandths(retry.factor),
            max_ms: retry.max_ms,
        });
        self.nodes.push(Node {
            id: step.id.clone(),
            block,
            when: step.when.as_ref().map(|when| expression(&step.id, when)).transpose()?,
            timeout_ms: step.timeout_ms,
            retry,
            action,
        });
        Ok(NodeId(self.nodes.len() - 1))
    }

    fn action(&mut self, block: BlockId, step: &Step) -> Result<Action, PlanError> {
        use written::action::Action as Written;
        let id = step.id.as_str();
        let pure = |kind, plugin: &written::PluginRef, with, outcomes| -> Result<Action, PlanError> {
            let plugin = PluginRange { id: plugin.id.clone(), range: plugin.range.clone() };
            Ok(Action::Pure { kind, plugin, with: template(id, with)?, outcomes })
        };
        match &step.action {
            Written::Transform { plugin, with } => {
                let outcomes = self.outcomes(block, step, &written::action::Outcomes::default())?;
                pure(PureKind::Transform, plugin, with, outcomes)
            }
            Written::Score { plugin, with, .. } => {
                let outcomes = self.outcomes(block, step, &written::action::Outcomes::default())?;
                pure(PureKind::Score, plugin, with, outcomes)
            }
            Written::Rule { plugin, with, outcomes } => {
                let outcomes = self.outcomes(block, step, outcomes)?;
                pure(PureKind::Rule, plugin, with, outcomes)
            }
            Written::Call { connection, operation, with, .. } => Ok(Action::Call {
                connection: connection.value.clone(),
                operation: operation.value.clone(),
                effect: self.effect(id, &connection.value, &operation.value)?,
                with: template(id, with)?,
            }),
            Written::Switch { cases, otherwise, output } => {
                let cases = cases
                    .iter()
                    .map(|case| Ok((expression(id, &case.when)?, self.block(Some(block), &case.steps)?)))
                    .collect::<Result<Vec<_>, PlanError>>()?;
                let otherwise = otherwise.as_ref().map(|steps| self.block(Some(block), steps)).transpose()?;
                let branches: Vec<BlockId> = cases.iter().map(|(_, branch)| *branch).chain(otherwise).collect();
                let inner = self.inner(block, &branches);
                let output = output.as_ref().map(|output| template(id, output)).transpose()?;
                Ok(Action::Switch { cases, otherwise, output, inner })
            }
            Written::Emit { event_type, subject, data } => Ok(Action::Emit {
                event_type: event_type.clone(),
                subject: subject.as_ref().map(|subject| template(id, subject)).transpose()?,
                data: template(id, data)?,
            }),
            Written::End { reason } => Ok(Action::End { reason: reason.clone() }),
            other => Err(PlanError::NotYet { step: id.to_owned(), what: other.keyword() }),
        }
    }

    fn outcomes(
        &mut self,
        block: BlockId,
        step: &Step,
        outcomes: &written::action::Outcomes,
    ) -> Result<Outcomes, PlanError> {
        let proceed = self.then(block, step, outcomes.proceed.as_ref(), Then::Continue)?;
        let hold = self.then(block, step, outcomes.hold.as_ref(), Then::Park { reason: None })?;
        let reject = self.then(block, step, outcomes.reject.as_ref(), Then::Reject)?;
        let mut routes = BTreeMap::new();
        for branch in &outcomes.route {
            routes.insert(branch.name.clone(), self.block(Some(block), &branch.steps)?);
        }
        let mut branches: Vec<BlockId> = routes.values().copied().collect();
        branches.extend([&proceed, &hold, &reject].into_iter().filter_map(|then| match then {
            Then::Steps(branch) => Some(*branch),
            _ => None,
        }));
        let inner = self.inner(block, &branches);
        let output = outcomes.output.as_ref().map(|output| template(&step.id, output)).transpose()?;
        Ok(Outcomes { proceed, hold, reject, routes, output, inner })
    }

    fn then(
        &mut self,
        block: BlockId,
        step: &Step,
        consequence: Option<&written::step::Consequence>,
        default: Then,
    ) -> Result<Then, PlanError> {
        let not_yet = |what| PlanError::NotYet { step: step.id.clone(), what };
        Ok(match consequence.map(|consequence| &consequence.then) {
            None => default,
            Some(WrittenThen::Continue) => Then::Continue,
            Some(WrittenThen::Reject) => Then::Reject,
            Some(WrittenThen::End { .. }) => Then::End,
            Some(WrittenThen::DeadLetter { reason }) => Then::Park { reason: reason.clone() },
            Some(WrittenThen::Steps { steps }) => Then::Steps(self.block(Some(block), steps)?),
            Some(WrittenThen::Approve(_)) => return Err(not_yet("`approve`")),
            Some(WrittenThen::Use { .. }) => return Err(not_yet("`use`")),
            Some(WrittenThen::As { .. }) => return Err(not_yet("`as`")),
        })
    }

    fn effect(&self, step: &str, connection: &str, operation: &str) -> Result<Effect, PlanError> {
        self.definition
            .uses
            .get(connection)
            .and_then(|contract| self.contracts.get(&contract.value))
            .and_then(|contract| contract.operations.get(operation))
            .map(|operation| operation.effect)
            .ok_or_else(|| PlanError::Operation {
                step: step.to_owned(),
                connection: connection.to_owned(),
                operation: operation.to_owned(),
            })
    }
}

fn refuse_what_does_not_run(step: &Step) -> Result<(), PlanError> {
    let what = match step {
        Step { compensate: Some(_), .. } => "`compensate`",
        Step { fallback: Some(_), .. } => "`fallback`",
        Step { on_error: Some(_), .. } => "`on_error`",
        Step { within_ms: Some(_), .. } => "`within`",
        Step { point_of_no_return: true, .. } => "`point_of_no_return`",
        Step { action: written::action::Action::Call { confirm: Some(_), .. }, .. } => "`confirm`",
        _ => return Ok(()),
    };
    Err(PlanError::NotYet { step: step.id.clone(), what })
}

fn thousandths(factor: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to a range that holds exactly"
    )]
    let thousandths = (factor * 1000.0).clamp(1_000.0, 1_000_000.0) as u64;
    thousandths
}

fn expression(step: &str, written: &written::template::Expression) -> Result<Expression, PlanError> {
    Expression::compile(&written.source).map_err(|source| PlanError::Expression {
        step: step.to_owned(),
        source_text: written.source.clone(),
        source,
    })
}

fn template(step: &str, written: &written::template::Template) -> Result<Template, PlanError> {
    use written::template::{Part as WrittenPart, Template as Written};
    Ok(match written {
        Written::Literal(value) => Template::Literal(Json::from(value.clone())),
        Written::Expression(source) => Template::Expression(expression(step, source)?),
        Written::Text(parts) => Template::Text(
            parts
                .iter()
                .map(|part| {
                    Ok(match part {
                        WrittenPart::Literal(text) => Part::Literal(text.clone()),
                        WrittenPart::Expression(source) => Part::Expression(expression(step, source)?),
                    })
                })
                .collect::<Result<_, PlanError>>()?,
        ),
        Written::List(items) => {
            Template::List(items.iter().map(|item| template(step, item)).collect::<Result<_, PlanError>>()?)
        }
        Written::Map(fields) => Template::Map(
            fields
                .iter()
                .map(|(name, field)| Ok((name.clone(), template(step, field)?)))
                .collect::<Result<_, PlanError>>()?,
        ),
    })
}
