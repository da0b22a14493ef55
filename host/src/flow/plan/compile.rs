//! From a checked definition to a plan. The checker has found every mistake before; what is refused here is only an
//! expression that no longer compiles.

use std::collections::BTreeMap;

use super::{
    Action, Approval, Block, BlockId, Confirm, Fallback, Node, NodeId, OnError, Operation, Outcomes, Over, Plan,
    PluginRange, PureKind, Signal, TableRange, Then, Trigger, Until,
};
use crate::{
    flow::{
        correlation,
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
            action::{Mode, Over as WrittenOver},
            step::{Step, Then as WrittenThen},
        },
    },
};

/// A definition that cannot become a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
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
    /// `undo` names what is not there.
    #[error("step `{step}`: there is no step `{name}` to undo here")]
    Unknown {
        /// The step.
        step: String,
        /// What it names.
        name: String,
    },
    /// A `match` ties no event to a run.
    #[error(
        "step `{step}`: `{source_text}` has to contain an equality of two plain paths, one of the signal and one of the \
         run, such as `signal.data.order == event.subject`"
    )]
    Untied {
        /// The step.
        step: String,
        /// The expression.
        source_text: String,
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
    let on_error = definition
        .on_error
        .as_ref()
        .map(|handler| {
            let steps = builder.block(Some(Plan::ROOT), &handler.steps)?;
            Ok(OnError { compensate_all: handler.compensate_all, steps })
        })
        .transpose()?;
    builder.own_blocks();
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
        uses: definition.uses.iter().map(|(name, contract)| (name.clone(), contract.value.clone())).collect(),
        triggers,
        key,
        sla: definition.sla,
        lane: definition.lane.as_ref().map(|lane| template("lane", lane)).transpose()?,
        config: Document::new(definition.config.clone()),
        vars: definition.vars.iter().map(|(name, value)| (name.clone(), Document::new(value.clone()))).collect(),
        order: definition.order,
        on_error,
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
                if let Some(node) = self.nodes.get_mut(node.0) {
                    node.position = block.nodes.len();
                }
                block.nodes.push(node);
                block.names.insert(step.id.clone(), node);
            }
        }
        Ok(id)
    }

    /// Tells each block which step it belongs to.
    fn own_blocks(&mut self) {
        for (number, node) in self.nodes.iter().enumerate() {
            for block in node.blocks() {
                if let Some(block) = self.blocks.get_mut(block.0) {
                    block.owner = Some(NodeId(number));
                }
            }
        }
    }

    fn open(&mut self, parent: Option<BlockId>) -> BlockId {
        self.blocks.push(Block { parent, ..Block::default() });
        BlockId(self.blocks.len() - 1)
    }

    fn repeated(&mut self, parent: BlockId, steps: &[Step]) -> Result<BlockId, PlanError> {
        let id = self.block(Some(parent), steps)?;
        if let Some(block) = self.blocks.get_mut(id.0) {
            block.repeated = true;
        }
        Ok(id)
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
        let action = self.action(block, step)?;
        let (compensate, fallback, on_error) = self.declared(block, step)?;
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
            position: 0,
            when: step.when.as_ref().map(|when| expression(&step.id, when)).transpose()?,
            timeout_ms: step.timeout_ms,
            within_ms: step.within_ms.or(match &step.action {
                written::action::Action::Parallel { within_ms, .. } => *within_ms,
                _ => None,
            }),
            retry,
            retry_declared: step.retry.is_some(),
            compensate,
            tables: step
                .tables
                .iter()
                .map(|(alias, table)| TableRange {
                    alias: alias.clone(),
                    name: table.name.clone(),
                    range: table.range.clone(),
                })
                .collect(),
            fallback,
            on_error,
            point_of_no_return: step.point_of_no_return,
            action,
        });
        Ok(NodeId(self.nodes.len() - 1))
    }

    fn action(&mut self, block: BlockId, step: &Step) -> Result<Action, PlanError> {
        use written::action::Action as Written;
        let id = step.id.as_str();
        let pure = |kind, plugin: &written::PluginRef, with, outcomes, mode| -> Result<Action, PlanError> {
            Ok(Action::Pure { kind, plugin: range(plugin), with: template(id, with)?, outcomes, mode })
        };
        match &step.action {
            Written::Transform { plugin, with } => {
                let outcomes = self.outcomes(block, step, &written::action::Outcomes::default())?;
                pure(PureKind::Transform, plugin, with, outcomes, Mode::Auto)
            }
            Written::Score { plugin, with, mode } => {
                let outcomes = self.outcomes(block, step, &written::action::Outcomes::default())?;
                pure(PureKind::Score, plugin, with, outcomes, *mode)
            }
            Written::Assess { connection, operation, with, mode } => Ok(Action::Assess {
                operation: self.operation(id, &connection.value, &operation.value, with)?,
                mode: *mode,
            }),
            Written::Rule { plugin, with, outcomes } => {
                let outcomes = self.outcomes(block, step, outcomes)?;
                pure(PureKind::Rule, plugin, with, outcomes, Mode::Auto)
            }
            Written::Call { connection, operation, with, confirm } => {
                let confirm = confirm
                    .as_ref()
                    .map(|confirm| {
                        let read = self.operation(id, &connection.value, &confirm.operation.value, &confirm.with)?;
                        let equals = fields(id, confirm.equals.iter().map(|(path, value)| (path, value)))?;
                        Ok(Confirm { read, equals })
                    })
                    .transpose()?;
                Ok(Action::Call { operation: self.operation(id, &connection.value, &operation.value, with)?, confirm })
            }
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
            Written::Parallel { join, branches, .. } => {
                let branches = branches
                    .iter()
                    .map(|branch| Ok((branch.name.clone(), self.block(Some(block), &branch.steps)?)))
                    .collect::<Result<_, PlanError>>()?;
                Ok(Action::Parallel { join: *join, branches })
            }
            Written::For { over, at_once, steps, output, reduce } => Ok(Action::For {
                over: match over {
                    WrittenOver::Each(each) => Over::Each(expression(id, each)?),
                    WrittenOver::Pages { connection, operation, with } => {
                        Over::Pages(self.operation(id, &connection.value, &operation.value, with)?)
                    }
                },
                at_once: usize::try_from(*at_once).unwrap_or(1).max(1),
                body: self.repeated(block, steps)?,
                output: output.as_ref().map(|output| template(id, output)).transpose()?,
                reduce: reduce.as_ref().map(range),
            }),
            Written::Loop { max, until, steps, output, on_exhausted } => Ok(Action::Loop {
                max: template(id, max)?,
                until: expression(id, until)?,
                body: self.repeated(block, steps)?,
                output: output.as_ref().map(|output| template(id, output)).transpose()?,
                on_exhausted: self.optional(block, step, on_exhausted.as_ref())?,
            }),
            Written::Wait { until, within_ms, on_expiry } => Ok(Action::Wait {
                until: self.until(id, until)?,
                within_ms: *within_ms,
                on_expiry: self.optional(block, step, on_expiry.as_ref())?,
            }),
            Written::Approve(approval) => Ok(Action::Approve(Box::new(self.approval(block, step, approval)?))),
            Written::Run { pipeline, range, detach, with } => Ok(Action::Start {
                pipeline: pipeline.value.clone(),
                range: range.clone(),
                detach: *detach,
                with: template(id, with)?,
            }),
            Written::Undo { steps, set } => {
                let steps = steps
                    .iter()
                    .map(|name| {
                        self.resolve(block, &name.value)
                            .ok_or_else(|| PlanError::Unknown { step: id.to_owned(), name: name.value.clone() })
                    })
                    .collect::<Result<_, PlanError>>()?;
                let set: Vec<_> = set.iter().map(|(name, value)| (name.value.clone(), value)).collect();
                Ok(Action::Undo { steps, set: fields(id, set.iter().map(|(name, value)| (name, *value)))? })
            }
            Written::Set { values } => {
                let set: Vec<_> = values.iter().map(|(name, value)| (name.value.clone(), value)).collect();
                Ok(Action::Undo { steps: Vec::new(), set: fields(id, set.iter().map(|(name, value)| (name, *value)))? })
            }
        }
    }

    /// The steps that `undo` may name come before it, in its own block or around it.
    fn resolve(&self, block: BlockId, name: &str) -> Option<NodeId> {
        let mut at = Some(block);
        while let Some(block) = at.and_then(|id| self.blocks.get(id.0)) {
            if let Some(node) = block.names.get(name) {
                return Some(*node);
            }
            at = block.parent;
        }
        None
    }

    fn until(&self, id: &str, until: &written::action::Until) -> Result<Until, PlanError> {
        use written::action::Until as Written;
        Ok(match until {
            Written::Elapsed(span_ms) => Until::Elapsed(*span_ms),
            Written::Time(moment) => Until::Time(expression(id, moment)?),
            Written::Signals(signals) => Until::Signals(
                signals
                    .iter()
                    .map(|signal| {
                        let (part, value) = correlation::split(&signal.matches.source).ok_or_else(|| {
                            PlanError::Untied { step: id.to_owned(), source_text: signal.matches.source.clone() }
                        })?;
                        let side = |source| written::template::Expression { source, at: signal.matches.at };
                        Ok(Signal {
                            name: signal.name.clone(),
                            event_type: signal.event.clone(),
                            part: expression(id, &side(part))?,
                            value: expression(id, &side(value))?,
                            matches: expression(id, &signal.matches)?,
                        })
                    })
                    .collect::<Result<_, PlanError>>()?,
            ),
        })
    }

    fn approval(
        &mut self,
        block: BlockId,
        step: &Step,
        approval: &written::action::Approval,
    ) -> Result<Approval, PlanError> {
        Ok(Approval {
            group: approval.group.clone(),
            quorum: approval.quorum.as_ref().map(|quorum| template(&step.id, quorum)).transpose()?,
            not: approval.not.clone(),
            show: approval.show.clone(),
            remind_ms: approval.remind_ms.clone(),
            escalate: approval.escalate.as_ref().map(|next| (next.to.clone(), next.after_ms)),
            within_ms: approval.within_ms,
            on_expiry: self.then(block, step, Some(&approval.on_expiry), Then::Reject)?,
        })
    }

    fn optional(
        &mut self,
        block: BlockId,
        step: &Step,
        consequence: Option<&written::step::Consequence>,
    ) -> Result<Option<Then>, PlanError> {
        consequence.map(|_| self.then(block, step, consequence, Then::Continue)).transpose()
    }

    /// What holds for a step of any kind.
    #[expect(clippy::type_complexity, reason = "taken apart at once, by its one caller")]
    fn declared(
        &mut self,
        block: BlockId,
        step: &Step,
    ) -> Result<(Option<Operation>, Option<Fallback>, Option<Then>), PlanError> {
        let id = step.id.as_str();
        let own = match &step.action {
            written::action::Action::Call { connection, .. } => connection.value.as_str(),
            _ => "",
        };
        let compensate = step
            .compensate
            .as_ref()
            .map(|undo| self.operation(id, undo.connection.as_deref().unwrap_or(own), &undo.operation, &undo.with))
            .transpose()?;
        let fallback = match &step.fallback {
            None => None,
            Some(written::action::Fallback::Value(value)) => Some(Fallback::Value(template(id, value)?)),
            Some(written::action::Fallback::Rule { plugin, with }) => {
                Some(Fallback::Plugin { kind: PureKind::Rule, plugin: range(plugin), with: template(id, with)? })
            }
            Some(written::action::Fallback::Transform { plugin, with }) => {
                Some(Fallback::Plugin { kind: PureKind::Transform, plugin: range(plugin), with: template(id, with)? })
            }
        };
        Ok((compensate, fallback, self.optional(block, step, step.on_error.as_ref())?))
    }

    fn operation(
        &self,
        step: &str,
        connection: &str,
        operation: &str,
        with: &written::template::Template,
    ) -> Result<Operation, PlanError> {
        Ok(Operation {
            connection: connection.to_owned(),
            operation: operation.to_owned(),
            effect: self.effect(step, connection, operation)?,
            with: template(step, with)?,
        })
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
        Ok(match consequence.map(|consequence| &consequence.then) {
            None => default,
            Some(WrittenThen::Continue) => Then::Continue,
            Some(WrittenThen::Reject) => Then::Reject,
            Some(WrittenThen::End { .. }) => Then::End,
            Some(WrittenThen::DeadLetter { reason }) => Then::Park { reason: reason.clone() },
            Some(WrittenThen::Steps { steps }) => Then::Steps(self.block(Some(block), steps)?),
            Some(WrittenThen::Approve(approval)) => Then::Approve(Box::new(self.approval(block, step, approval)?)),
            Some(WrittenThen::Use { output }) => Then::Use(template(&step.id, output)?),
            Some(WrittenThen::As { signal }) => Then::As(signal.clone()),
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

fn range(plugin: &written::PluginRef) -> PluginRange {
    PluginRange { id: plugin.id.clone(), range: plugin.range.clone() }
}

fn fields<'a>(
    step: &str,
    written: impl IntoIterator<Item = impl Into<(&'a String, &'a written::template::Template)>>,
) -> Result<Vec<(String, Template)>, PlanError> {
    written
        .into_iter()
        .map(|field| {
            let (name, value) = field.into();
            Ok((name.clone(), template(step, value)?))
        })
        .collect()
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
