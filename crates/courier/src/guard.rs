//! Which addresses events may be sent to.
//!
//! A subscription's URL comes from whoever holds an admin token, and the request it causes comes from inside the
//! operator's network. So only public addresses are called: the URL is checked when it is registered and again before
//! each delivery, and names are resolved by a resolver of ours that the HTTP client connects by, so what was checked is
//! what is connected to.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// No receiver's URL comes near this.
const URL_BYTES_MAX: usize = 2_048;

/// How long a name may take to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Decides which addresses may be called.
#[derive(Debug, Clone, Copy)]
pub struct Guard {
    allow_private: bool,
}

/// Why an address is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a URL at all.
    #[error("is not a URL")]
    NotAUrl,
    /// Longer than 2,048 bytes.
    #[error("is longer than 2048 bytes")]
    TooLong,
    /// Neither http nor https.
    #[error("must start with https:// or http://")]
    Scheme,
    /// It names a user or a password.
    #[error("must hold no user and no password")]
    Credentials,
    /// It has a fragment, which is never sent.
    #[error("must hold no fragment")]
    Fragment,
    /// The name does not resolve.
    #[error("names a host that does not resolve")]
    Unresolved,
    /// An address of the host is not a public one.
    #[error("leads to an address that is not public")]
    NotPublic,
}

impl Guard {
    /// A guard; with `allow_private` addresses of any kind may be called: for receivers of one's own, and tests.
    #[must_use]
    pub fn new(allow_private: bool) -> Self {
        Self { allow_private }
    }

    /// Takes `text` as a receiver's URL. Resolves nothing; an address written out is checked.
    pub fn parse(self, text: &str) -> Result<Url, Refused> {
        if text.len() > URL_BYTES_MAX {
            return Err(Refused::TooLong);
        }
        let url = Url::parse(text).map_err(|_| Refused::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Credentials);
        }
        if url.fragment().is_some() {
            return Err(Refused::Fragment);
        }
        let host = url.host_str().ok_or(Refused::NotAUrl)?;
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) if !self.allows(address) => Err(Refused::NotPublic),
            Ok(_) | Err(_) => Ok(url),
        }
    }

    /// As [`parse`](Self::parse), and every address of the host is checked.
    pub async fn check(self, text: &str) -> Result<Url, Refused> {
        let url = self.parse(text)?;
        let host = url.host_str().ok_or(Refused::NotAUrl)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        self.resolve(host).await?;
        Ok(url)
    }

    /// The addresses of `host`, if all of them may be called: one among many that may not is an attempt, or a mistake.
    async fn resolve(self, host: &str) -> Result<Vec<SocketAddr>, Refused> {
        let looking = tokio::net::lookup_host((host, 0));
        let found = tokio::time::timeout(RESOLVE_TIMEOUT, looking).await;
        let found: Vec<SocketAddr> =
            found.map_err(|_| Refused::Unresolved)?.map_err(|_| Refused::Unresolved)?.collect();
        if found.is_empty() {
            return Err(Refused::Unresolved);
        }
        if found.iter().all(|address| self.allows(address.ip())) {
            Ok(found)
        } else {
            Err(Refused::NotPublic)
        }
    }

    fn allows(self, address: IpAddr) -> bool {
        self.allow_private || is_public(address)
    }

    /// Resolves names for an HTTP client, so that it connects to nothing this guard refuses.
    pub(crate) fn resolver(self) -> Arc<impl Resolve> {
        Arc::new(GuardedResolver(self))
    }
}

struct GuardedResolver(Guard);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0;
        Box::pin(async move {
            let found = guard.resolve(name.as_str()).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the public internet: by the IANA special-purpose address registries.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match (a, b, c) {
        // This network, private, loopback.
        (0 | 10 | 127, ..) => true,
        // Carrier-grade NAT.
        (100, 64..=127, _) => true,
        // Link-local: cloud metadata lives here.
        (169, 254, _) => true,
        (172, 16..=31, _) | (192, 168, _) => true,
        // Protocol assignments, documentation, 6to4 relays.
        (192, 0, 0 | 2) | (192, 88, 99) => true,
        // Benchmarks, documentation.
        (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        // Multicast, reserved, broadcast.
        (224.., ..) => true,
        _ => false,
    };
    !is_special
}

/// Global unicast is 2000::/3; loopback, unspecified, IPv4-mapped and -compatible, NAT64, unique-local, link-local and
/// multicast addresses lie outside. Of it are left out those that carry an IPv4 address, which might be private: 6to4
/// and Teredo.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let is_global = a & 0xe000 == 0x2000;
    let is_special = match (a, b) {
        // 2001::/23: protocol assignments, Teredo among them. 2001:db8::/32: documentation.
        (0x2001, 0..=0x01ff | 0x0db8) => true,
        // 6to4.
        (0x2002, _) => true,
        // Documentation.
        (0x3fff, 0..=0x0fff) => true,
        _ => false,
    };
    is_global && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Guard = Guard { allow_private: false };

    #[test]
    fn only_public_addresses_are_called() {
        for private in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2606:4700:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn an_address_is_recognised_however_it_is_written() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://127.0.0.1./",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]:8080/",
            "http://169.254.169.254/latest/meta-data/",
            "http://①②⑦.0.0.1/",
            "http://0/",
            "http://[fe80::1]/",
        ] {
            assert_eq!(STRICT.parse(url), Err(Refused::NotPublic), "{url}");
            assert!(Guard::new(true).parse(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn only_plain_http_urls_are_taken() {
        for (url, why) in [
            ("", Refused::NotAUrl),
            ("example.com/hook", Refused::NotAUrl),
            ("http://", Refused::NotAUrl),
            ("ftp://example.com/", Refused::Scheme),
            ("file:///etc/passwd", Refused::Scheme),
            ("gopher://example.com/", Refused::Scheme),
            ("https://user@example.com/", Refused::Credentials),
            ("https://:secret@example.com/", Refused::Credentials),
            ("https://example.com/#top", Refused::Fragment),
        ] {
            assert_eq!(Guard::new(true).parse(url), Err(why), "{url}");
        }
        assert_eq!(
            STRICT.parse(&format!("https://example.com/{}", "x".repeat(2_048))),
            Err(Refused::TooLong)
        );
        assert_eq!(STRICT.parse("https://example.com:8443/hook?a=b").unwrap().port(), Some(8_443));
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused() {
        assert_eq!(STRICT.check("http://localhost:9/hook").await, Err(Refused::NotPublic));
        assert!(Guard::new(true).check("http://localhost:9/hook").await.is_ok());
        let nowhere = STRICT.check("http://no-such-host.invalid/").await;
        assert_eq!(nowhere, Err(Refused::Unresolved));
    }
}
