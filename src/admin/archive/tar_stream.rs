//! Streaming reader and writer of the tar format (POSIX, pax, "ustar Interchange Format"). The reader verifies every
//! byte that the files' checksums do not cover.

use std::io;

use tar::{EntryType, Header};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::ArchiveError;

const BLOCK_BYTES: usize = 512;
const ZERO_BLOCK: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
/// Maximum size of a file that is read as text.
const MAX_TEXT_BYTES: usize = 64 * 1024 * 1024;
/// Maximum size of a chunk that is read into memory.
const CHUNK_BYTES: usize = 256 * 1024;

/// Writes files to a tar stream.
pub(super) struct TarWriter<W> {
    inner: W,
    modified: u64,
    bytes: u64,
}

impl<W: AsyncWrite + Unpin> TarWriter<W> {
    /// Creates a writer that gives all files the modification time `modified`, in seconds since 1970.
    pub(super) fn new(inner: W, modified: u64) -> Self {
        Self {
            inner,
            modified,
            bytes: 0,
        }
    }

    pub(super) async fn append(&mut self, path: &str, content: &[u8]) -> Result<(), ArchiveError> {
        let length = content.len() as u64;
        let header = create_header(path, length, self.modified).map_err(ArchiveError::Write)?;
        self.write(header.as_bytes()).await?;
        self.write(content).await?;
        let padding = ZERO_BLOCK.get(..padding(length)).unwrap_or_default();
        self.write(padding).await
    }

    /// Ends the archive, and returns its length in bytes.
    pub(super) async fn finish(mut self) -> Result<u64, ArchiveError> {
        self.write(&ZERO_BLOCK).await?;
        self.write(&ZERO_BLOCK).await?;
        self.inner.flush().await.map_err(ArchiveError::Write)?;
        Ok(self.bytes)
    }

    async fn write(&mut self, data: &[u8]) -> Result<(), ArchiveError> {
        self.bytes += data.len() as u64;
        self.inner.write_all(data).await.map_err(ArchiveError::Write)
    }
}

/// Reads files from a tar stream.
pub(super) struct TarReader<R> {
    inner: R,
    file: Option<TarEntry>,
    chunk: Vec<u8>,
    bytes: u64,
}

struct TarEntry {
    path: String,
    length: u64,
    left: u64,
}

impl<R: AsyncRead + Unpin> TarReader<R> {
    /// Opens an archive, and reads the header of the first file.
    pub(super) async fn open(inner: R) -> Result<Self, ArchiveError> {
        let mut reader = Self {
            inner,
            file: None,
            chunk: Vec::with_capacity(CHUNK_BYTES),
            bytes: 0,
        };
        match reader.read_header().await {
            Err(ArchiveError::Damaged(_)) => Err(ArchiveError::NotAnArchive),
            read => read.map(|()| reader),
        }
    }

    /// Returns the path of the current file, or `None` after the last one.
    pub(super) fn path(&self) -> Option<&str> {
        self.file.as_ref().map(|file| file.path.as_str())
    }

    /// Returns the number of bytes that were read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the next chunk of the current file. At its end, returns `None` and advances to the next file.
    pub(super) async fn read_chunk(&mut self) -> Result<Option<&[u8]>, ArchiveError> {
        let Some(file) = self.file.as_mut() else {
            return Ok(None);
        };
        if file.left == 0 {
            let padding = padding(file.length);
            self.expect_zeros(padding).await?;
            self.read_header().await?;
            return Ok(None);
        }
        let limit = file.left.min(CHUNK_BYTES as u64);
        self.chunk.clear();
        let mut limited = (&mut self.inner).take(limit);
        let read = limited
            .read_buf(&mut self.chunk)
            .await
            .map_err(ArchiveError::Read)? as u64;
        if read == 0 {
            return Err(ArchiveError::Truncated);
        }
        file.left -= read;
        self.bytes += read;
        Ok(Some(&self.chunk))
    }

    /// Reads the current file, which must be at `path`, as UTF-8.
    pub(super) async fn read_text(&mut self, path: &str) -> Result<String, ArchiveError> {
        if self.path() != Some(path) {
            return Err(ArchiveError::unexpected_file(self.path(), path));
        }
        let mut content = Vec::new();
        while let Some(chunk) = self.read_chunk().await? {
            content.extend_from_slice(chunk);
            if content.len() > MAX_TEXT_BYTES {
                return Err(ArchiveError::Damaged(format!("{path} is too long")));
            }
        }
        String::from_utf8(content).map_err(|error| ArchiveError::malformed(path, &error))
    }

    /// Reads the header of the next file, or the end of the archive.
    async fn read_header(&mut self) -> Result<(), ArchiveError> {
        let mut block = Header::new_old();
        self.fill(block.as_mut_bytes()).await?;
        if *block.as_bytes() == ZERO_BLOCK {
            self.file = None;
            self.expect_zeros(BLOCK_BYTES).await?;
            let mut trailing = [0];
            let read = self.inner.read(&mut trailing).await.map_err(ArchiveError::Read)?;
            return match read {
                0 => Ok(()),
                _ => Err(ArchiveError::Damaged("unexpected data after its end".to_owned())),
            };
        }
        self.file = Some(TarEntry::parse(&block).ok_or_else(|| {
            ArchiveError::Damaged(format!(
                "invalid file header at byte {}",
                self.bytes - BLOCK_BYTES as u64
            ))
        })?);
        Ok(())
    }

    async fn expect_zeros(&mut self, count: usize) -> Result<(), ArchiveError> {
        let mut block = ZERO_BLOCK;
        let zeros = block.get_mut(..count).unwrap_or_default();
        self.fill(zeros).await?;
        if block == ZERO_BLOCK {
            Ok(())
        } else {
            Err(ArchiveError::Damaged(
                "unexpected data between its files".to_owned(),
            ))
        }
    }

    async fn fill(&mut self, block: &mut [u8]) -> Result<(), ArchiveError> {
        match self.inner.read_exact(block).await {
            Ok(read) => self.bytes += read as u64,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(ArchiveError::Truncated);
            }
            Err(error) => return Err(ArchiveError::Read(error)),
        }
        Ok(())
    }
}

impl TarEntry {
    /// Parses a header. Returns `None` if a byte differs from the header that [`TarWriter`] writes.
    fn parse(block: &Header) -> Option<Self> {
        let path = String::from_utf8(block.path_bytes().into_owned()).ok()?;
        let length = block.entry_size().ok()?;
        let same = create_header(&path, length, block.mtime().ok()?).ok()?;
        (same.as_bytes() == block.as_bytes()).then_some(Self {
            path,
            length,
            left: length,
        })
    }
}

fn create_header(path: &str, length: u64, modified: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(path)?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600); // users can include password hashes
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(modified);
    header.set_size(length);
    header.set_cksum();
    Ok(header)
}

/// Returns the number of bytes that fill the last block of a file.
fn padding(length: u64) -> usize {
    let over = usize::try_from(length % BLOCK_BYTES as u64).unwrap_or_default();
    (BLOCK_BYTES - over) % BLOCK_BYTES
}
