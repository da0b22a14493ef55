//! How the host proves to a remote who we are: the schemes, and what each takes. Values of secrets are never among it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::connection::SecretRef;

/// How the host authenticates a request, after it has left the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scheme", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// HTTP basic authentication (RFC 7617).
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: SecretRef,
    },
    /// A bearer token (RFC 6750).
    Bearer {
        /// The token.
        token: SecretRef,
    },
    /// OAuth 2 client credentials (RFC 6749 §4.4). The token's response never reaches a guest.
    #[serde(rename = "oauth2-client-credentials")]
    OAuth2ClientCredentials {
        /// Where tokens are given out; needs no capability of the plugin, the operator's word is enough.
        token_url: String,
        /// Who we are.
        client_id: String,
        /// The proof.
        client_secret: SecretRef,
        /// Requested scope.
        #[serde(default)]
        scope: Option<String>,
        /// How the client proves who it is.
        #[serde(default, skip_serializing_if = "ClientAuthentication::is_basic")]
        client_authentication: ClientAuthentication,
    },
    /// OAuth 2 with a refresh token that somebody was given by consent (RFC 6749 §6). The tokens' responses never reach a
    /// guest.
    #[serde(rename = "oauth2-refresh-token")]
    OAuth2RefreshToken {
        /// Where tokens are given out.
        token_url: String,
        /// Who we are.
        client_id: String,
        /// The proof.
        client_secret: SecretRef,
        /// What access tokens are given out for.
        refresh_token: SecretRef,
        /// Requested scope, no more than what was consented to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
        /// How the client proves who it is.
        #[serde(default, skip_serializing_if = "ClientAuthentication::is_basic")]
        client_authentication: ClientAuthentication,
    },
    /// OAuth 1.0a (RFC 5849): each request is signed, with its parameters.
    #[serde(rename = "oauth1")]
    OAuth1 {
        /// With which algorithm.
        #[serde(default)]
        signature_method: SignatureMethod,
        /// Which application signs.
        consumer_key: String,
        /// Its secret.
        consumer_secret: SecretRef,
        /// Whose access it uses; absent: its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
        /// The secret of that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token_secret: Option<SecretRef>,
        /// What is asked for, where a remote wants to know: NetSuite's account id, say. It is not signed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        realm: Option<String>,
    },
    /// AWS Signature Version 4: each request is signed, its body included.
    #[serde(rename = "aws-sigv4")]
    AwsSigV4 {
        /// Where the service is, such as `eu-west-1`.
        region: String,
        /// What it is called in signatures, such as `execute-api` or `s3`.
        service: String,
        /// Which key signs.
        access_key_id: String,
        /// The key.
        secret_access_key: SecretRef,
        /// For a key that is valid for a time only: what came with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session_token: Option<SecretRef>,
    },
}

/// How an OAuth 2 client proves who it is (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuthentication {
    /// In the `Authorization` header.
    #[default]
    Basic,
    /// In the form, for remotes that know nothing else.
    Body,
}

impl ClientAuthentication {
    /// Whether it is what the standard recommends.
    #[must_use]
    pub fn is_basic(&self) -> bool {
        *self == Self::Basic
    }
}

/// The algorithm of an OAuth 1 signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureMethod {
    /// HMAC with SHA-256.
    #[default]
    HmacSha256,
    /// HMAC with SHA-1, for remotes that know nothing else.
    HmacSha1,
}

impl SignatureMethod {
    /// As requests name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "HMAC-SHA256",
            Self::HmacSha1 => "HMAC-SHA1",
        }
    }
}

/// The certificate that the host shows in TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// The certificate and those that lead from it to an authority that the remote knows, in PEM form, its own first.
    pub certificate: SecretRef,
    /// Its private key, in PEM form and not encrypted. Absent: it stands in the same PEM as the certificate, so that both
    /// are exchanged at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<SecretRef>,
}

/// A way to authenticate, as a manifest and people name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// HTTP basic authentication.
    Basic,
    /// A bearer token.
    Bearer,
    /// OAuth 2 client credentials.
    #[serde(rename = "oauth2-client-credentials")]
    OAuth2ClientCredentials,
    /// OAuth 2 with a refresh token.
    #[serde(rename = "oauth2-refresh-token")]
    OAuth2RefreshToken,
    /// OAuth 1.0a.
    #[serde(rename = "oauth1")]
    OAuth1,
    /// AWS Signature Version 4.
    #[serde(rename = "aws-sigv4")]
    AwsSigV4,
    /// A client certificate in TLS.
    MutualTls,
}

impl Scheme {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Bearer => "bearer",
            Self::OAuth2ClientCredentials => "oauth2-client-credentials",
            Self::OAuth2RefreshToken => "oauth2-refresh-token",
            Self::OAuth1 => "oauth1",
            Self::AwsSigV4 => "aws-sigv4",
            Self::MutualTls => "mutual-tls",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Auth {
    /// What it is called; absent if there is none.
    #[must_use]
    pub fn scheme(&self) -> Option<Scheme> {
        match self {
            Self::None => None,
            Self::Basic { .. } => Some(Scheme::Basic),
            Self::Bearer { .. } => Some(Scheme::Bearer),
            Self::OAuth2ClientCredentials { .. } => Some(Scheme::OAuth2ClientCredentials),
            Self::OAuth2RefreshToken { .. } => Some(Scheme::OAuth2RefreshToken),
            Self::OAuth1 { .. } => Some(Scheme::OAuth1),
            Self::AwsSigV4 { .. } => Some(Scheme::AwsSigV4),
        }
    }

    /// The references to its secrets, by place; the first is plain `auth`.
    #[must_use]
    pub fn secrets(&self) -> Vec<(&'static str, &SecretRef)> {
        match self {
            Self::None => Vec::new(),
            Self::Basic { password: secret, .. }
            | Self::Bearer { token: secret }
            | Self::OAuth2ClientCredentials { client_secret: secret, .. } => vec![("auth", secret)],
            Self::OAuth2RefreshToken { client_secret, refresh_token, .. } => {
                vec![("auth", refresh_token), (CLIENT_SECRET, client_secret)]
            }
            Self::OAuth1 { consumer_secret, token_secret, .. } => {
                let token = token_secret.as_ref().map(|token| (TOKEN_SECRET, token));
                [("auth", consumer_secret)].into_iter().chain(token).collect()
            }
            Self::AwsSigV4 { secret_access_key, session_token, .. } => {
                let token = session_token.as_ref().map(|token| (SESSION_TOKEN, token));
                [("auth", secret_access_key)].into_iter().chain(token).collect()
            }
        }
    }

    /// The same, to be replaced.
    pub fn secrets_mut(&mut self) -> Vec<(&'static str, &mut SecretRef)> {
        match self {
            Self::None => Vec::new(),
            Self::Basic { password: secret, .. }
            | Self::Bearer { token: secret }
            | Self::OAuth2ClientCredentials { client_secret: secret, .. } => vec![("auth", secret)],
            Self::OAuth2RefreshToken { client_secret, refresh_token, .. } => {
                vec![("auth", refresh_token), (CLIENT_SECRET, client_secret)]
            }
            Self::OAuth1 { consumer_secret, token_secret, .. } => {
                let token = token_secret.as_mut().map(|token| (TOKEN_SECRET, token));
                [("auth", consumer_secret)].into_iter().chain(token).collect()
            }
            Self::AwsSigV4 { secret_access_key, session_token, .. } => {
                let token = session_token.as_mut().map(|token| (SESSION_TOKEN, token));
                [("auth", secret_access_key)].into_iter().chain(token).collect()
            }
        }
    }

    /// Whether what is not secret of it can be used.
    ///
    /// # Errors
    /// What is wrong, and what belongs there.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::AwsSigV4 { region, service, access_key_id, .. } => {
                let plain = |text: &str| {
                    !text.is_empty()
                        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
                };
                let named = [
                    ("region", region, "`eu-west-1`"),
                    ("service", service, "`execute-api` or `s3`"),
                    ("access_key_id", access_key_id, "`AKIA…`"),
                ];
                match named.into_iter().find(|(_, text, _)| !plain(text)) {
                    Some((name, _, such)) => {
                        Err(format!("`auth.{name}`: letters, digits, `-`, `_` and `.`, such as {such}"))
                    }
                    None => Ok(()),
                }
            }
            Self::OAuth1 { consumer_key, token, token_secret, realm, .. } => {
                let readable = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
                if consumer_key.is_empty() {
                    return Err("`auth.consumer_key`: it is empty".to_owned());
                }
                if token.is_some() != token_secret.is_some() {
                    return Err(
                        "`auth.token` and `auth.token_secret` belong together: give both, or neither".to_owned()
                    );
                }
                if realm.as_ref().is_some_and(|realm| !readable(realm)) {
                    return Err(
                        "`auth.realm`: only ASCII characters that can be printed fit into the header".to_owned()
                    );
                }
                Ok(())
            }
            Self::None
            | Self::Basic { .. }
            | Self::Bearer { .. }
            | Self::OAuth2ClientCredentials { .. }
            | Self::OAuth2RefreshToken { .. } => Ok(()),
        }
    }

    /// Where tokens are given out to us, if it uses any.
    #[must_use]
    pub fn token_url(&self) -> Option<&str> {
        match self {
            Self::OAuth2ClientCredentials { token_url, .. } | Self::OAuth2RefreshToken { token_url, .. } => {
                Some(token_url)
            }
            Self::None | Self::Basic { .. } | Self::Bearer { .. } | Self::OAuth1 { .. } | Self::AwsSigV4 { .. } => None,
        }
    }
}

/// The place of the secret of an OAuth 2 client that has a refresh token.
const CLIENT_SECRET: &str = "auth.client_secret";
/// The place of the secret of an OAuth 1 token.
const TOKEN_SECRET: &str = "auth.token_secret";
/// The place of a session token.
const SESSION_TOKEN: &str = "auth.session_token";
/// The place of a certificate.
pub const CERTIFICATE: &str = "client_certificate.certificate";
/// The place of its key.
pub const PRIVATE_KEY: &str = "client_certificate.private_key";

impl ClientCertificate {
    /// The references to its secrets, by place.
    #[must_use]
    pub fn secrets(&self) -> Vec<(&'static str, &SecretRef)> {
        let key = self.private_key.as_ref().map(|key| (PRIVATE_KEY, key));
        [(CERTIFICATE, &self.certificate)].into_iter().chain(key).collect()
    }

    /// The same, to be replaced.
    pub fn secrets_mut(&mut self) -> Vec<(&'static str, &mut SecretRef)> {
        let key = self.private_key.as_mut().map(|key| (PRIVATE_KEY, key));
        [(CERTIFICATE, &mut self.certificate)].into_iter().chain(key).collect()
    }
}
