//! The words of a web configuration.
use std::collections::BTreeMap;

use corten_plugin::http::header::{HeaderMap, HeaderName, HeaderValue};
use yaml_rust2::{Yaml, YamlLoader};

/// Costs above this take minutes for one request.
const COST_MAX: u32 = 16;
/// Headers that may be set: exporter-toolkit's list.
const HEADERS: [&str; 5] = [
    "content-security-policy",
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
    "x-xss-protection",
];

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub(crate) tls: Option<Tls>,
    /// Names with bcrypt hashes.
    pub(crate) users: BTreeMap<String, String>,
    pub(crate) headers: HeaderMap,
}

/// The section `tls_server_config`.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    pub(crate) certificate: Option<Pem>,
    pub(crate) key: Option<Pem>,
    pub(crate) client_ca: Option<Pem>,
    pub(crate) client_auth: ClientAuth,
    pub(crate) min_version: Option<Version>,
    pub(crate) max_version: Option<Version>,
    /// Nothing for all that are good.
    pub(crate) cipher_suites: Vec<String>,
}

/// PEM text, or where it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pem {
    File(String),
    Text(String),
}

/// What clients must show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    #[default]
    None,
    IfGiven,
    Required,
}

/// A version of TLS that rustls speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    Tls12,
    Tls13,
}

/// Reads a file; an unknown word is a mistake, so that no protection is missing silently.
pub(crate) fn read(text: &str) -> Result<File, String> {
    let documents = YamlLoader::load_from_str(text).map_err(|error| error.to_string())?;
    let mut file = File::default();
    let Some(document) = documents.first() else {
        return Ok(file);
    };
    for (name, value) in entries(document, "the file")? {
        match name {
            "tls_server_config" => file.tls = tls(value)?,
            "http_server_config" => {
                for (name, value) in entries(value, name)? {
                    match name {
                        // HTTP/1.1 is what there is.
                        "http2" => (),
                        "headers" => file.headers = headers(value)?,
                        other => return Err(format!("unknown field 'http_server_config.{other}'")),
                    }
                }
            }
            "basic_auth_users" => {
                for (user, value) in entries(value, name)? {
                    let hash = string(value, user)?;
                    check_hash(user, &hash)?;
                    file.users.insert(user.to_owned(), hash);
                }
            }
            other => return Err(format!("unknown field '{other}'")),
        }
    }
    Ok(file)
}

fn check_hash(user: &str, hash: &str) -> Result<(), String> {
    let parts: bcrypt::HashParts = hash
        .parse()
        .map_err(|_| format!("basic_auth_users: the hash of '{user}' is not a bcrypt hash"))?;
    if parts.get_cost() > COST_MAX {
        return Err(format!(
            "basic_auth_users: the cost of the hash of '{user}' is {}; {COST_MAX} is the most",
            parts.get_cost()
        ));
    }
    Ok(())
}

fn tls(section: &Yaml) -> Result<Option<Tls>, String> {
    let fields = entries(section, "tls_server_config")?;
    if fields.is_empty() {
        return Ok(None);
    }
    let mut tls = Tls::default();
    for (name, value) in fields {
        match name {
            "cert_file" => tls.certificate = Some(Pem::File(string(value, name)?)),
            "cert" => tls.certificate = Some(Pem::Text(string(value, name)?)),
            "key_file" => tls.key = Some(Pem::File(string(value, name)?)),
            "key" => tls.key = Some(Pem::Text(string(value, name)?)),
            "client_ca_file" => tls.client_ca = Some(Pem::File(string(value, name)?)),
            "client_ca" => tls.client_ca = Some(Pem::Text(string(value, name)?)),
            "client_auth_type" => tls.client_auth = client_auth(&string(value, name)?)?,
            "min_version" => tls.min_version = Some(version(&string(value, name)?)?),
            "max_version" => tls.max_version = Some(version(&string(value, name)?)?),
            "cipher_suites" => {
                let suites = value.as_vec().ok_or("cipher_suites is not a list")?;
                tls.cipher_suites = suites
                    .iter()
                    .map(|suite| string(suite, name))
                    .collect::<Result<_, _>>()?;
            }
            // rustls has good ones only, and an order of its own.
            "prefer_server_cipher_suites" | "curve_preferences" => (),
            other => return Err(format!("unknown field 'tls_server_config.{other}'")),
        }
    }
    if tls.client_auth != ClientAuth::None && tls.client_ca.is_none() {
        return Err("client_auth_type needs client_ca_file".into());
    }
    if tls.client_auth == ClientAuth::None && tls.client_ca.is_some() {
        return Err(
            "client_ca_file without client_auth_type checks nobody; add 'client_auth_type: RequireAndVerifyClientCert'"
                .into(),
        );
    }
    Ok(Some(tls))
}

fn client_auth(text: &str) -> Result<ClientAuth, String> {
    match text {
        "" | "NoClientCert" => Ok(ClientAuth::None),
        "VerifyClientCertIfGiven" => Ok(ClientAuth::IfGiven),
        "RequireAndVerifyClientCert" => Ok(ClientAuth::Required),
        "RequestClientCert" | "RequireAnyClientCert" => Err(format!(
            "client_auth_type '{text}' trusts any certificate; use RequireAndVerifyClientCert"
        )),
        _ => Err(format!("unknown client_auth_type '{text}'")),
    }
}

fn version(text: &str) -> Result<Version, String> {
    match text {
        // Older ones are not spoken, whatever the file allows.
        "TLS10" | "TLS11" | "TLS12" => Ok(Version::Tls12),
        "TLS13" => Ok(Version::Tls13),
        _ => Err(format!("unknown TLS version '{text}'")),
    }
}

fn headers(section: &Yaml) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in entries(section, "headers")? {
        let bad = || format!("HTTP header '{name}' can not be configured");
        let header = HeaderName::try_from(name).map_err(|_| bad())?;
        if !HEADERS.contains(&header.as_str()) {
            return Err(bad());
        }
        let value = string(value, name)?;
        if !value.is_empty() {
            let value = HeaderValue::try_from(value).map_err(|_| bad())?;
            headers.insert(header, value);
        }
    }
    Ok(headers)
}

/// The fields of a section; none when it is empty.
fn entries<'y>(section: &'y Yaml, name: &str) -> Result<Vec<(&'y str, &'y Yaml)>, String> {
    match section {
        Yaml::Null => Ok(Vec::new()),
        Yaml::Hash(fields) => fields
            .iter()
            .map(|(key, value)| {
                let key = key.as_str();
                Ok((
                    key.ok_or_else(|| format!("a name in {name} is not a text"))?,
                    value,
                ))
            })
            .collect(),
        _ => Err(format!("{name} is not a list of names and values")),
    }
}

fn string(value: &Yaml, name: &str) -> Result<String, String> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("the value of '{name}' is not a text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$04$fGpDZ0zCdEXoYwT.TFAvN.wPMuV4IjaLmSDmUs6AcmpKVe2q8DlTy";

    #[test]
    fn files_are_read() {
        let text = format!(
            "tls_server_config:\n  cert_file: cert.pem\n  key: |\n    PEM\n  client_ca_file: ca.pem\n  \
             client_auth_type: RequireAndVerifyClientCert\n  min_version: TLS13\n  \
             cipher_suites: [TLS_A, TLS_B]\n\
             http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n\
             basic_auth_users:\n  a: {HASH}\n"
        );
        let file = read(&text).unwrap();
        let tls = file.tls.unwrap();
        assert_eq!(tls.certificate, Some(Pem::File("cert.pem".into())));
        assert_eq!(tls.key, Some(Pem::Text("PEM\n".into())));
        assert_eq!(tls.client_auth, ClientAuth::Required);
        assert_eq!(
            (tls.min_version, tls.max_version),
            (Some(Version::Tls13), None)
        );
        assert_eq!(tls.cipher_suites, ["TLS_A", "TLS_B"]);
        assert_eq!(file.headers["x-frame-options"], "deny");
        assert_eq!(file.users["a"], HASH);
        assert!(read("").unwrap().users.is_empty());
        assert!(read("tls_server_config:\n").unwrap().tls.is_none());
    }

    #[test]
    fn mistakes_are_told() {
        for (text, error) in [
            ("a: b", "unknown field 'a'"),
            (
                "tls_server_config:\n  certfile: x",
                "unknown field 'tls_server_config.certfile'",
            ),
            ("tls_server_config: x", "not a list of names"),
            (
                "tls_server_config:\n  cert_file: [x]",
                "'cert_file' is not a text",
            ),
            (
                "tls_server_config:\n  min_version: SSL3",
                "unknown TLS version 'SSL3'",
            ),
            (
                "tls_server_config:\n  client_auth_type: RequireAnyClientCert",
                "trusts any certificate",
            ),
            (
                "tls_server_config:\n  client_ca_file: ca.pem",
                "checks nobody",
            ),
            (
                "http_server_config:\n  headers:\n    Server: x",
                "'Server' can not be configured",
            ),
            (
                "basic_auth_users:\n  a: secret",
                "the hash of 'a' is not a bcrypt hash",
            ),
            (
                "basic_auth_users:\n  a: $2y$31$fGpDZ0zCdEXoYwT.TFAvN.wPMuV4IjaLmSDmUs6AcmpKVe2q8DlTy",
                "16 is the most",
            ),
            ("a: [", "while parsing"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(error), "{text}: {told}");
        }
    }
}
