//! The tar around an archive's files, written and read as it streams (POSIX, pax, "ustar Interchange
//! Format"). Of each byte that is read it is clear what it must be, or the files' checksums cover it.

use std::io;

use tar::{EntryType, Header};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::ArchiveError;

const BLOCK: usize = 512;
const ZEROS: [u8; BLOCK] = [0; BLOCK];
/// Of a file that is read no more than this is in memory.
const PIECE: usize = 256 * 1024;

/// Writes files one after the other.
pub(super) struct TarWriter<W> {
    inner: W,
    modified: u64,
    bytes: u64,
}

impl<W: AsyncWrite + Unpin> TarWriter<W> {
    /// All files are said to be of the time `modified`, in seconds since 1970.
    pub(super) fn new(inner: W, modified: u64) -> Self {
        Self {
            inner,
            modified,
            bytes: 0,
        }
    }

    pub(super) async fn append(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        let length = content.len() as u64;
        let header = header(path, length, self.modified)?;
        self.write(header.as_bytes()).await?;
        self.write(content).await?;
        let padding = ZEROS.get(..padding(length)).unwrap_or_default();
        self.write(padding).await
    }

    /// Ends the archive; its length.
    pub(super) async fn finish(mut self) -> io::Result<u64> {
        self.write(&ZEROS).await?;
        self.write(&ZEROS).await?;
        self.inner.flush().await?;
        Ok(self.bytes)
    }

    async fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.bytes += data.len() as u64;
        self.inner.write_all(data).await
    }
}

/// Reads files one after the other.
pub(super) struct TarReader<R> {
    inner: R,
    file: Option<File>,
    piece: Vec<u8>,
    bytes: u64,
}

struct File {
    path: String,
    length: u64,
    left: u64,
}

impl<R: AsyncRead + Unpin> TarReader<R> {
    /// Reads as far as to the first file.
    pub(super) async fn open(inner: R) -> Result<Self, ArchiveError> {
        let mut reader = Self {
            inner,
            file: None,
            piece: Vec::with_capacity(PIECE),
            bytes: 0,
        };
        match reader.next().await {
            Err(ArchiveError::Damaged(_)) => Err(ArchiveError::NoArchive),
            read => read.map(|()| reader),
        }
    }

    /// The path of the file that is to be read next; none behind the last.
    pub(super) fn path(&self) -> Option<&str> {
        self.file.as_ref().map(|file| file.path.as_str())
    }

    /// How much was read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next piece of the file. None at its end: then the next file is the one to be read.
    pub(super) async fn piece(&mut self) -> Result<Option<&[u8]>, ArchiveError> {
        let Some(file) = self.file.as_mut() else {
            return Ok(None);
        };
        if file.left == 0 {
            let padding = padding(file.length);
            self.zeros(padding).await?;
            self.next().await?;
            return Ok(None);
        }
        let most = file.left.min(PIECE as u64);
        self.piece.clear();
        let mut limited = (&mut self.inner).take(most);
        let read = limited
            .read_buf(&mut self.piece)
            .await
            .map_err(ArchiveError::Read)? as u64;
        if read == 0 {
            return Err(ArchiveError::CutShort);
        }
        file.left -= read;
        self.bytes += read;
        Ok(Some(&self.piece))
    }

    /// The whole of a file, which must be the next one and have at most `most` bytes.
    pub(super) async fn whole(&mut self, path: &str, most: usize) -> Result<Vec<u8>, ArchiveError> {
        if self.path() != Some(path) {
            return Err(ArchiveError::unexpected(self.path(), path));
        }
        let mut content = Vec::new();
        while let Some(piece) = self.piece().await? {
            content.extend_from_slice(piece);
            if content.len() > most {
                return Err(ArchiveError::Damaged(format!("{path} is too long")));
            }
        }
        Ok(content)
    }

    /// Reads the header of the next file, or what ends the archive.
    async fn next(&mut self) -> Result<(), ArchiveError> {
        let mut block = Header::new_old();
        self.fill(block.as_mut_bytes()).await?;
        if *block.as_bytes() == ZEROS {
            self.file = None;
            self.zeros(BLOCK).await?;
            let mut behind = [0];
            let more = self.inner.read(&mut behind).await.map_err(ArchiveError::Read)?;
            return match more {
                0 => Ok(()),
                _ => Err(ArchiveError::Damaged("something is behind its end".to_owned())),
            };
        }
        self.file = Some(File::of(&block).ok_or_else(|| {
            ArchiveError::Damaged(format!(
                "no file of an archive begins at byte {}",
                self.bytes - BLOCK as u64
            ))
        })?);
        Ok(())
    }

    async fn zeros(&mut self, count: usize) -> Result<(), ArchiveError> {
        let mut block = ZEROS;
        let zeros = block.get_mut(..count).unwrap_or_default();
        self.fill(zeros).await?;
        if block == ZEROS {
            Ok(())
        } else {
            Err(ArchiveError::Damaged(
                "there is something between its files".to_owned(),
            ))
        }
    }

    async fn fill(&mut self, block: &mut [u8]) -> Result<(), ArchiveError> {
        match self.inner.read_exact(block).await {
            Ok(read) => self.bytes += read as u64,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(ArchiveError::CutShort),
            Err(error) => return Err(ArchiveError::Read(error)),
        }
        Ok(())
    }
}

impl File {
    /// What the header says, where each byte of it is as it is written here.
    fn of(block: &Header) -> Option<Self> {
        let path = String::from_utf8(block.path_bytes().into_owned()).ok()?;
        let length = block.entry_size().ok()?;
        let same = header(&path, length, block.mtime().ok()?).ok()?;
        (same.as_bytes() == block.as_bytes()).then_some(Self {
            path,
            length,
            left: length,
        })
    }
}

fn header(path: &str, length: u64, modified: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(path)?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600); // users' passwords may be inside
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(modified);
    header.set_size(length);
    header.set_cksum();
    Ok(header)
}

/// What is missing to whole blocks.
fn padding(length: u64) -> usize {
    let over = usize::try_from(length % BLOCK as u64).unwrap_or_default();
    (BLOCK - over) % BLOCK
}
