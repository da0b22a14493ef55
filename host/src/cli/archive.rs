//! `crossdock archive`: of a hub that is switched off. A running hub archives by itself, as `[retention]` in its
//! configuration says.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Subcommand};

use super::{Failed, out::Out, story};
use crate::{
    app::{
        clock::SystemClock,
        facts::Facts,
        retention::{self, earlier},
    },
    flow::view,
    model::{age::Age, id::RunId},
    ports::{clock::Clock, journal::StreamId},
    store::disk::Store,
};

/// Archives.
#[derive(Subcommand, Debug)]
pub(super) enum Archive {
    /// Move runs that ended long enough ago out of the journal, with their events, and give its room back.
    Run(RunIt),
    /// List the files of the archive.
    List(Data),
    /// Tell the story of a run, archived or not.
    Show(Show),
}

/// Where.
#[derive(Args, Debug)]
pub(super) struct Data {
    /// The hub's data folder.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// What to archive.
#[derive(Args, Debug)]
pub(super) struct RunIt {
    #[command(flatten)]
    data: Data,
    /// Runs that ended so long ago, and everything that belongs to them: `30d`, `12h`.
    #[arg(long, default_value = "30d", value_name = "AGE")]
    older_than: Age,
    /// Drop archives whose newest is older than this, for good.
    #[arg(long, value_name = "AGE")]
    drop_older_than: Option<Age>,
}

/// Which run.
#[derive(Args, Debug)]
pub(super) struct Show {
    /// Its whole id.
    id: RunId,
    #[command(flatten)]
    data: Data,
}

impl Data {
    fn open(&self) -> Result<(Store, Facts, Arc<dyn Clock>), Failed> {
        let folder = self.data.join("store");
        if !folder.is_dir() {
            return Err(format!(
                "`{}` is not the data folder of a hub: there is no `store` in it",
                self.data.display()
            )
            .into());
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let store = Store::open(&folder, Arc::clone(&clock))?;
        let facts = Facts::new(store.journal(), store.blobs());
        Ok((store, facts, clock))
    }
}

impl Archive {
    pub(super) async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        match self {
            Self::Run(run) => run.run(out).await,
            Self::List(data) => {
                let (store, _, _) = data.open()?;
                let files = store.archives().await;
                store.close().await?;
                let files = files?;
                if out.is_json() {
                    out.value(&files);
                    return Ok(ExitCode::SUCCESS);
                }
                let rows = files
                    .into_iter()
                    .map(|file| {
                        vec![
                            format!("{:08}", file.file),
                            file.runs.to_string(),
                            file.bundles.to_string(),
                            format!("{} KiB", file.bytes.div_ceil(1024)),
                            file.from.to_string(),
                            file.to.to_string(),
                            if file.dropped { "dropped".to_owned() } else { String::new() },
                        ]
                    })
                    .collect();
                out.table(&["file", "runs", "events", "size", "from", "to", ""], rows, "nothing is archived");
                Ok(ExitCode::SUCCESS)
            }
            Self::Show(show) => {
                let (store, facts, _) = show.data.open()?;
                let read = facts.read(StreamId::Run(show.id)).await;
                store.close().await?;
                let (entries, _) = read?;
                let view = view::story(show.id, &entries).ok_or_else(|| format!("there is no run {}", show.id))?;
                if out.is_json() {
                    out.value(&view);
                } else {
                    story::tell(out, &view);
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl RunIt {
    async fn run(self, out: &Out) -> Result<ExitCode, Failed> {
        let (store, facts, clock) = self.data.open()?;
        let now = clock.now();
        let done = async {
            let plan = retention::plan(&facts, earlier(now, self.older_than)).await?;
            let drop_before = self.drop_older_than.map(|age| earlier(now, age));
            retention::archive(&store, plan, drop_before).await
        }
        .await;
        store.close().await?;
        let done = done?;
        if out.is_json() {
            out.value(&done);
        } else if done.runs == 0 && done.dropped == 0 {
            out.say(format!("nothing ended more than {} ago", self.older_than));
        } else {
            out.say(format!(
                "archived {} runs of {} events into {} files; the journal went from {} to {} KiB; {} archives dropped",
                done.runs,
                done.acceptances,
                done.files.len(),
                done.journal_bytes.0.div_ceil(1024),
                done.journal_bytes.1.div_ceil(1024),
                done.dropped
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}
