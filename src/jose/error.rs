//! What may be wrong with a key.

use super::algorithm::Algorithm;

/// Why a key cannot be used, or why it did not sign. Says what is wrong and what to do, and repeats nothing of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    /// Neither PEM nor a JSON object.
    #[error("there is no private key in it; a PEM file (PKCS#8, PKCS#1 or SEC1) or a private JWK is needed")]
    NoKey,
    /// Nothing but certificates.
    #[error("it holds a certificate and no private key; name the file of the key that belongs to it")]
    CertificateOnly,
    /// A public key, as PEM or as JWK.
    #[error("it holds a public key only; the private key is needed for signing")]
    PublicOnly,
    /// PKCS#8 or PKCS#1 under a passphrase.
    #[error("the private key is encrypted; decrypt it first, for example with `openssl pkey -in KEY -out DECRYPTED`")]
    Encrypted,
    /// A form of OpenSSH's own.
    #[error("the key is in OpenSSH's own form; convert it with `ssh-keygen -p -m PKCS8 -f KEY`")]
    OpenSsh,
    /// A PEM text that went through a shell or an environment file.
    #[error("the PEM has lost its line breaks; keep it in a file, or quote it where it is set")]
    OneLine,
    /// Cut off, or no base64.
    #[error("the PEM is damaged: a block has no end, or is no base64; copy the file again")]
    DamagedPem,
    /// Not JSON, or a member of another type.
    #[error("the JWK cannot be read, in line {line}, column {column}; it has to be one JSON object as in RFC 7517")]
    DamagedJwk {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A member that a key of this type needs.
    #[error("the JWK has no usable member {0:?}; export the whole private key (RFC 7518 section 6)")]
    JwkMember(&'static str),
    /// The members contradict each other.
    #[error("the members of the JWK do not make one key; export the key again")]
    InconsistentJwk,
    /// `{"keys": [...]}`.
    #[error("it holds a set of JWKs; give the one key that signs")]
    JwkSet,
    /// `"use": "enc"`.
    #[error("the JWK's \"use\" is not \"sig\"; give the key that signs")]
    NotForSigning,
    /// `"kty": "oct"`.
    #[error("the JWK is a shared secret; a private key is needed")]
    SharedSecret,
    /// P-521, X25519, DSA, a damaged PKCS#8, …
    #[error("the key is of a kind that does not sign here, or damaged; RSA, EC on P-256 or P-384, and Ed25519 do")]
    Unsupported,
    /// RSA, but too short to be safe, or so long that signing would take seconds.
    #[error("the RSA key must have 2048 to 8192 bits; make a new one, and register it with the authorization server")]
    RsaSize,
    /// A name that is none of [`Algorithm::ALL`].
    #[error("the signing algorithm is not one of HS256, RS256, PS256, ES256, ES384 and EdDSA")]
    UnknownAlgorithm,
    /// The algorithm is for other keys.
    #[error("{algorithm} does not fit the key, which is {kind} and signs with {fitting}")]
    AlgorithmMismatch {
        /// The one that was asked for.
        algorithm: Algorithm,
        kind: &'static str,
        /// What it could sign with.
        fitting: &'static str,
    },
    /// The library refused, or the claims are no JSON.
    #[error("a JWT could not be signed")]
    Signing,
    /// No key could be made.
    #[error("a new key could not be made")]
    Generating,
}
