//! The list of attacks on a package file, and that it is one file for one content.

use super::*;

fn files(list: &[(&str, &[u8])]) -> Files {
    let mut files = Files::default();
    for (path, content) in list {
        files.add((*path).to_owned(), Bytes::copy_from_slice(content)).expect("added");
    }
    files
}

/// An archive of whatever one likes: path as bytes, type, size that the header says, content.
fn forged(entries: &[(&[u8], tar::EntryType, u64, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (path, of, size, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path);
        header.set_entry_type(*of);
        header.set_size(*size);
        header.set_mode(0o644);
        header.set_cksum();
        archive.extend_from_slice(header.as_bytes());
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1_024, 0);
    zstd::encode_all(&archive[..], 1).expect("compressed")
}

#[track_caller]
fn refused(packed: &[u8], expected: &str) {
    let error = Files::unpack(packed).expect_err("refused");
    let text = crate::app::gate::with_source(&error);
    assert!(text.contains(expected), "{text}");
}

const FILE: tar::EntryType = tar::EntryType::Regular;

#[test]
fn the_same_content_gives_the_same_file_and_comes_back() {
    let list: [(&str, &[u8]); 3] = [("plugin.toml", b"x"), ("component.wasm", b"\0asm"), ("schemas/a.json", b"{}")];
    let one = files(&list);
    let mut turned = list;
    turned.reverse();
    let packed = one.pack().expect("packed");
    assert_eq!(packed, files(&turned).pack().expect("packed"));
    assert_eq!(Files::unpack(&packed[..]).expect("read"), one);
    let folder = tempfile::tempdir().expect("folder");
    one.write(folder.path()).expect("written");
    assert_eq!(Files::of_folder(folder.path()).expect("read"), one);
    assert!(one.write(folder.path()).is_err(), "never over what is there");
}

#[test]
fn a_path_cannot_lead_out() {
    for (path, expected) in [
        (&b"/etc/cron.d/x"[..], "absolute"),
        (b"../x", "leads elsewhere"),
        (b"a/../../x", "leads elsewhere"),
        (b"./x", "leads elsewhere"),
        (b"a//x", "leads elsewhere"),
        (b"a/", "leads elsewhere"),
        (b"", "empty"),
        (b"C:\\x", "some systems"),
        (b"a\\..\\x", "some systems"),
        (b"x:stream", "some systems"),
        (b"a\x1b[2Jx", "some systems"),
        (b"a\xffx", "some systems"),
    ] {
        refused(&forged(&[(path, FILE, 1, b"x")]), expected);
    }
}

#[test]
fn only_regular_files_are_taken() {
    for (of, expected) in [
        (tar::EntryType::Symlink, "a link"),
        (tar::EntryType::Link, "a link"),
        (tar::EntryType::Char, "a device"),
        (tar::EntryType::Block, "a device"),
        (tar::EntryType::Fifo, "a device"),
        (tar::EntryType::Directory, "a folder"),
        (tar::EntryType::GNULongName, "an extension"),
        (tar::EntryType::XHeader, "an extension"),
        (tar::EntryType::XGlobalHeader, "an extension"),
        (tar::EntryType::GNUSparse, "an extension"),
        (tar::EntryType::Continuous, "an extension"),
    ] {
        refused(&forged(&[(b"x", of, 0, b"")]), expected);
    }
}

#[test]
fn a_name_occurs_once() {
    refused(&forged(&[(b"plugin.toml", FILE, 1, b"a"), (b"plugin.toml", FILE, 1, b"b")]), "occurs twice");
    refused(&forged(&[(b"plugin.toml", FILE, 1, b"a"), (b"Plugin.TOML", FILE, 1, b"b")]), "occurs twice");
    refused(&forged(&[(b"a", FILE, 1, b"a"), (b"a/b", FILE, 1, b"b")]), "occurs twice");
    refused(&forged(&[(b"a/b", FILE, 1, b"a"), (b"A", FILE, 1, b"b")]), "occurs twice");
}

/// Endless zeros, as a reader that does not keep them.
struct Zeros(u64);

impl Read for Zeros {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(usize::try_from(self.0).unwrap_or(usize::MAX));
        buffer[..count].fill(0);
        self.0 -= count as u64;
        Ok(count)
    }
}

#[test]
fn a_bomb_is_stopped_while_it_unpacks() {
    // One file that says it is as large as it is.
    refused(&forged(&[(b"x", FILE, COMPONENT_BYTES_LIMIT + 1, b"")]), "`x` is more than");
    // Several that are too large together.
    let half = COMPONENT_BYTES_LIMIT;
    let zeros = vec![0; usize::try_from(half).expect("fits")];
    refused(&forged(&[(b"a", FILE, half, &zeros), (b"b", FILE, half, b"")]), "the package is more than");
    drop(zeros);
    // Zeros behind the end: a few kilobytes that unpack to hundreds of megabytes.
    let packed = zstd::encode_all(Zeros(4 * ARCHIVE_BYTES_LIMIT), 1).expect("compressed");
    assert!(packed.len() < 1 << 20, "{}", packed.len());
    refused(&packed, "what it unpacks to is more than");
}

#[test]
fn too_many_files_are_refused_while_they_are_counted() {
    let names: Vec<String> = (0..=FILES_LIMIT).map(|index| format!("f{index}")).collect();
    let entries: Vec<(&[u8], tar::EntryType, u64, &[u8])> =
        names.iter().map(|name| (name.as_bytes(), FILE, 0, &b""[..])).collect();
    refused(&forged(&entries), "the number of files is more than 1024");
}

#[test]
fn a_window_that_takes_gigabytes_is_refused() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("encoder");
    encoder.window_log(27).expect("set");
    encoder.include_contentsize(false).expect("set");
    io::copy(&mut Zeros(1 << 20), &mut encoder).expect("compressed");
    refused(&encoder.finish().expect("finished"), "not a package file");
}

#[test]
fn what_is_damaged_or_goes_on_behind_the_end_is_refused() {
    refused(b"", "not a package file");
    refused(b"PK\x03\x04", "not a package file");
    let packed = files(&[("plugin.toml", b"some text that is long enough")]).pack().expect("packed");
    for cut in 1..packed.len() {
        assert!(Files::unpack(&packed[..cut]).is_err(), "cut at {cut}");
    }
    let plain = zstd::decode_all(&packed[..]).expect("plain");
    let hidden = [&plain[..], b"hidden"].concat();
    refused(&zstd::encode_all(&hidden[..], 1).expect("compressed"), "behind its end");
    let mut second = zstd::encode_all(&plain[..], 1).expect("compressed");
    second.extend(zstd::encode_all(&b"more"[..], 1).expect("compressed"));
    refused(&second, "behind its end");
    // A header whose checksum is not its own.
    let mut damaged = plain;
    damaged[0] ^= 1;
    refused(&zstd::encode_all(&damaged[..], 1).expect("compressed"), "not a package file");
}

#[test]
#[cfg(unix)]
fn a_folder_with_a_link_is_not_packed() {
    let folder = tempfile::tempdir().expect("folder");
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("assets")).expect("linked");
    assert!(matches!(Files::of_folder(folder.path()), Err(ParcelError::NotAFile { what: "a link", .. })));
}
