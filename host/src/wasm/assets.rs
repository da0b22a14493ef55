//! What a guest sees of its assets beside their bytes. Reading goes through WASI's own sandboxed file system; this file
//! replaces what would tell one machine from another: times, inode numbers, link counts, and the order of a listing.

use std::collections::{HashMap, VecDeque};

use futures::future::BoxFuture;
use wasmtime::{
    Result, StoreContextMut, bail,
    component::{Linker, Resource},
};
use wasmtime_wasi::{
    filesystem::WasiFilesystemView as _,
    p2::{
        FsResult,
        bindings::filesystem::types::{
            Descriptor, DescriptorStat, DirectoryEntry, DirectoryEntryStream, ErrorCode, HostDescriptor,
            HostDirectoryEntryStream, MetadataHashValue, PathFlags,
        },
    },
};

use super::call_state::CallState;

/// The interface whose functions are replaced, by the exact name under which WASI links it; a guest's older 0.2 finds
/// it as well.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

/// Entries that one call may list, and files that it may tell apart.
const ENTRIES_LIMIT: usize = 1 << 16;

/// What one call has seen.
#[derive(Default)]
pub(super) struct AssetView {
    /// The host's identities of files, numbered in the order in which the guest met them.
    files: HashMap<(u64, u64), u64>,
    /// Listings that the guest is reading, by its handle.
    listings: HashMap<u32, VecDeque<DirectoryEntry>>,
    listed: usize,
}

impl AssetView {
    /// The same file gets the same number, and nothing of the host's inode shows.
    fn number(&mut self, host: &MetadataHashValue) -> Result<MetadataHashValue> {
        let next = self.files.len() as u64 + 1;
        if self.files.len() >= ENTRIES_LIMIT {
            bail!("a call may look at {ENTRIES_LIMIT} files");
        }
        let number = *self.files.entry((host.upper, host.lower)).or_insert(next);
        Ok(MetadataHashValue { lower: number, upper: 0 })
    }
}

/// A file system's answer as the component model wants it: an error code is an answer, a trap is not.
fn told<T>(result: FsResult<T>) -> Result<Result<T, ErrorCode>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

/// Without what differs from one machine to the next.
fn timeless(stat: DescriptorStat) -> DescriptorStat {
    DescriptorStat {
        link_count: 1,
        data_access_timestamp: None,
        data_modification_timestamp: None,
        status_change_timestamp: None,
        ..stat
    }
}

type Context<'a> = StoreContextMut<'a, CallState>;
type Told<'a, T> = BoxFuture<'a, Result<(Result<T, ErrorCode>,)>>;

/// Replaces the functions. Shadowing must be allowed.
///
/// # Errors
/// If a definition clashes, which no input can cause.
pub(super) fn link(linker: &mut Linker<CallState>) -> Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.func_wrap_async("[method]descriptor.stat", |store, (file,)| Box::new(stat(store, file)))?;
    types.func_wrap_async("[method]descriptor.stat-at", |store, (file, flags, path)| {
        Box::new(stat_at(store, file, flags, path))
    })?;
    types.func_wrap_async("[method]descriptor.metadata-hash", |store, (file,)| Box::new(hash(store, file)))?;
    types.func_wrap_async("[method]descriptor.metadata-hash-at", |store, (file, flags, path)| {
        Box::new(hash_at(store, file, flags, path))
    })?;
    types.func_wrap_async("[method]descriptor.read-directory", |store, (file,)| Box::new(list(store, file)))?;
    types.func_wrap_async("[method]directory-entry-stream.read-directory-entry", |store, (stream,)| {
        Box::new(next_entry(store, stream))
    })
}

fn stat(mut store: Context<'_>, file: Resource<Descriptor>) -> Told<'_, DescriptorStat> {
    Box::pin(async move {
        let stat = HostDescriptor::stat(&mut store.data_mut().filesystem(), file).await;
        Ok((told(stat)?.map(timeless),))
    })
}

fn stat_at(
    mut store: Context<'_>,
    file: Resource<Descriptor>,
    flags: PathFlags,
    path: String,
) -> Told<'_, DescriptorStat> {
    Box::pin(async move {
        let stat = HostDescriptor::stat_at(&mut store.data_mut().filesystem(), file, flags, path).await;
        Ok((told(stat)?.map(timeless),))
    })
}

fn hash(mut store: Context<'_>, file: Resource<Descriptor>) -> Told<'_, MetadataHashValue> {
    Box::pin(async move {
        let hash = told(HostDescriptor::metadata_hash(&mut store.data_mut().filesystem(), file).await)?;
        numbered(store, hash)
    })
}

fn hash_at(
    mut store: Context<'_>,
    file: Resource<Descriptor>,
    flags: PathFlags,
    path: String,
) -> Told<'_, MetadataHashValue> {
    Box::pin(async move {
        let hash = HostDescriptor::metadata_hash_at(&mut store.data_mut().filesystem(), file, flags, path).await;
        numbered(store, told(hash)?)
    })
}

fn numbered(
    mut store: Context<'_>,
    hash: Result<MetadataHashValue, ErrorCode>,
) -> Result<(Result<MetadataHashValue, ErrorCode>,)> {
    Ok((match hash {
        Ok(hash) => Ok(store.data_mut().asset_view.number(&hash)?),
        Err(code) => Err(code),
    },))
}

fn list(mut store: Context<'_>, file: Resource<Descriptor>) -> Told<'_, Resource<DirectoryEntryStream>> {
    Box::pin(async move {
        let state = store.data_mut();
        let stream = match told(HostDescriptor::read_directory(&mut state.filesystem(), file).await)? {
            Ok(stream) => stream,
            Err(code) => return Ok((Err(code),)),
        };
        let mut entries = Vec::new();
        loop {
            let handle = Resource::new_borrow(stream.rep());
            let entry = HostDirectoryEntryStream::read_directory_entry(&mut state.filesystem(), handle).await;
            match told(entry)? {
                Ok(Some(_)) if state.asset_view.listed >= ENTRIES_LIMIT => {
                    bail!("a call may list {ENTRIES_LIMIT} assets; list a folder once");
                }
                Ok(Some(entry)) => {
                    state.asset_view.listed += 1;
                    entries.push(entry);
                }
                Ok(None) => break,
                Err(code) => return Ok((Err(code),)),
            }
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        state.asset_view.listings.insert(stream.rep(), entries.into());
        Ok((Ok(stream),))
    })
}

fn next_entry(mut store: Context<'_>, stream: Resource<DirectoryEntryStream>) -> Told<'_, Option<DirectoryEntry>> {
    Box::pin(async move {
        let entry = store.data_mut().asset_view.listings.get_mut(&stream.rep()).and_then(VecDeque::pop_front);
        Ok((Ok(entry),))
    })
}
