//! TLS: the certificate, read again when it changes, and handshakes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use super::{Room, http2};
use crate::loops::desk::Share;
use crate::loops::mailbox::Accepted;
use crate::socket::{Plain, Socket};

/// A handshake takes at most this.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A changed file is noticed by the first handshake that begins so long after the last look.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Where a certificate chain and its key are.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM certificate chain.
    pub certificate: PathBuf,
    /// PEM private key of the first certificate.
    pub key: PathBuf,
}

/// A certificate that cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of its kind.
    #[error("{path}: {detail}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The two do not go together, or are of a kind that is not supported.
    #[error("{0}")]
    Pair(#[from] rustls::Error),
}

/// The certificate being served.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: TlsFiles,
    served: Mutex<Served>,
}

#[derive(Debug)]
struct Served {
    config: Arc<ServerConfig>,
    stamps: Stamps,
    looked: SystemTime,
}

type Stamps = [Option<(SystemTime, u64)>; 2];

impl Certificate {
    pub(crate) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let stamps = stamps(&files);
        let config = Arc::new(read(&files)?);
        let served = Mutex::new(Served {
            config,
            stamps,
            looked: SystemTime::now(),
        });
        Ok(Self { files, served })
    }

    /// Reads the files again; on an error goes on with what it has.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let stamps = stamps(&self.files);
        let config = Arc::new(read(&self.files)?);
        let mut served = self.served.lock();
        served.config = config;
        served.stamps = stamps;
        Ok(())
    }

    /// What the next handshake uses. Looks at the files now and then.
    fn current(&self) -> Arc<ServerConfig> {
        let changed = {
            let mut served = self.served.lock();
            let now = SystemTime::now();
            let elapsed = now.duration_since(served.looked).unwrap_or(LOOK_AGAIN);
            if elapsed < LOOK_AGAIN {
                return Arc::clone(&served.config);
            }
            served.looked = now;
            stamps(&self.files) != served.stamps
        };
        if changed {
            match self.reload() {
                Ok(()) => tracing::info!("the certificate has changed and is served from now on"),
                Err(error) => {
                    tracing::warn!(%error, "the certificate has changed and cannot be used");
                }
            }
        }
        Arc::clone(&self.served.lock().config)
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    [&files.certificate, &files.key].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn read(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let fault = |path: &Path, detail: String| TlsError::File {
        path: path.display().to_string(),
        detail,
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault(&files.certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(fault(&files.certificate, "no certificate in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| fault(&files.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Does the handshake; HTTP/2 stays here, HTTP/1.1 goes to the loop.
pub(super) async fn accept(room: Rc<Room>, plain: Plain, counted: Share) {
    if let Err(error) = try_accept(&room, plain, counted).await {
        tracing::debug!(%error, "no TLS handshake");
    }
}

async fn try_accept(room: &Rc<Room>, plain: Plain, counted: Share) -> io::Result<()> {
    let (Some(certificate), Plain::Tcp(stream)) = (&room.tls, plain) else {
        return Ok(());
    };
    let acceptor = TlsAcceptor::from(certificate.current());
    let stream = TcpStream::from_std(stream)?;
    let peer = stream
        .peer_addr()
        .map_or_else(|_| "-".into(), |peer| peer.to_string().into());
    let mut stopping = room.stopping.clone();
    let stream = tokio::select! {
        done = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)) => done??,
        _ = stopping.wait_for(Option::is_some) => return Ok(()),
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2::serve(room, stream, Vec::new(), ("https", peer), counted).await;
        return Ok(());
    }
    let (stream, session) = stream.into_inner();
    let socket = Socket::tls(Plain::Tcp(stream.into_std()?), session);
    room.mailbox.put(|letters| {
        letters.accepted.push(Accepted {
            socket,
            counted: Some(counted),
            tls: false,
        });
    });
    Ok(())
}
