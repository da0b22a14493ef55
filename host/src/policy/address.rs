//! Which network addresses may be connected to: public ones, and those that an operator lists for a connection.
//!
//! Sees addresses, never names: whoever connects resolves first, asks here, and connects to the very address asked for.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Why an address is not an ordinary public one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The cloud's metadata service, where machine credentials are given out.
    Metadata,
    /// This machine.
    Loopback,
    /// A private network (RFC 1918).
    Private,
    /// The local link.
    LinkLocal,
    /// A private IPv6 network (RFC 4193), and the site-local ones before it.
    UniqueLocal,
    /// A carrier's network (RFC 6598).
    CarrierGradeNat,
    /// A group of machines.
    Multicast,
    /// Every machine on the link.
    Broadcast,
    /// No machine, or "this" network.
    Unspecified,
    /// Reserved for documentation or for benchmarks.
    Documentation,
    /// Reserved, or assigned to a protocol.
    Reserved,
    /// An IPv4 address written or carried as IPv6: mapped, compatible, NAT64, 6to4, Teredo.
    Translated,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "a cloud metadata address",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::UniqueLocal => "a unique-local address",
            Self::CarrierGradeNat => "a carrier-grade NAT address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
            Self::Unspecified => "an unspecified address",
            Self::Documentation => "a documentation or benchmark address",
            Self::Reserved => "a reserved address",
            Self::Translated => "an IPv4 address in IPv6 clothes",
        })
    }
}

/// What sets an address apart from public ones; absent for a public one.
#[must_use]
pub fn class(address: IpAddr) -> Option<Class> {
    match address {
        IpAddr::V4(v4) => class_v4(v4),
        IpAddr::V6(v6) => class_v6(v6),
    }
}

/// IPv4 addresses under which clouds answer metadata requests. Those of Alibaba and Oracle are outside link-local.
const METADATA_V4: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// IPv6 addresses under which clouds answer metadata requests (Amazon twice, Google).
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254),
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0023),
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254),
];

fn class_v4(v4: Ipv4Addr) -> Option<Class> {
    let [a, b, c, _] = v4.octets();
    if METADATA_V4.contains(&v4) {
        return Some(Class::Metadata);
    }
    match (a, b, c) {
        (127, ..) => Some(Class::Loopback),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some(Class::Private),
        (169, 254, _) => Some(Class::LinkLocal),
        (100, 64..=127, _) => Some(Class::CarrierGradeNat),
        (224..=239, ..) => Some(Class::Multicast),
        (255, 255, 255) if v4.is_broadcast() => Some(Class::Broadcast),
        (0, ..) => Some(Class::Unspecified),
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) | (198, 18 | 19, _) => Some(Class::Documentation),
        (192, 0, 0) | (192, 88, 99) | (240..=255, ..) => Some(Class::Reserved),
        _ => None,
    }
}

fn class_v6(v6: Ipv6Addr) -> Option<Class> {
    if METADATA_V6.contains(&v6) || embedded(v6).is_some_and(|v4| METADATA_V4.contains(&v4)) {
        return Some(Class::Metadata);
    }
    if v6.is_unspecified() {
        return Some(Class::Unspecified);
    }
    if v6.is_loopback() {
        return Some(Class::Loopback);
    }
    if embedded(v6).is_some() {
        return Some(Class::Translated);
    }
    match v6.segments() {
        // 64:ff9b:1::/48, a network's own NAT64; where the IPv4 address sits is that network's choice.
        [0x64, 0xff9b, ..] | [0x2001, 0, ..] => Some(Class::Translated),
        [0xff00..=0xffff, ..] => Some(Class::Multicast),
        [0xfe80..=0xfebf, ..] => Some(Class::LinkLocal),
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Some(Class::UniqueLocal),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] | [0x2001, 2, 0, ..] => Some(Class::Documentation),
        // Only 2000::/3 is given out.
        [first, ..] if first & 0xe000 != 0x2000 => Some(Class::Reserved),
        [0x2001, 0x0001..=0x01ff, ..] => Some(Class::Reserved),
        _ => None,
    }
}

/// The IPv4 address that an IPv6 address stands for, where its place is fixed.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        // ::ffff:0:0/96 mapped, ::ffff:0:0:0/96 translated (RFC 2765), 64:ff9b::/96 NAT64 (RFC 6052)
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => from(high, low),
        // ::/96 compatible, without :: and ::1
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => from(high, low),
        // 2002::/16 6to4
        [0x2002, high, low, ..] => from(high, low),
        // 2001:0::/32 Teredo: the client's address, inverted
        [0x2001, 0, _, _, _, _, high, low] => from(!high, !low),
        _ => None,
    }
}

/// A block of addresses: `10.1.0.0/16`, `::1/128`, or one address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// The text is not a block of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a block of addresses such as `10.1.2.0/24`, `127.0.0.1/32` or `::1/128`: {problem}")]
pub struct CidrError {
    text: String,
    problem: &'static str,
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let wrong = |problem| CidrError { text: text.to_owned(), problem };
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let network: IpAddr = address.parse().map_err(|_| wrong("that is no IP address"))?;
        let bits = if network.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(digits) => {
                digits.parse().ok().filter(|prefix| *prefix <= bits).ok_or_else(|| wrong("the prefix is too long"))?
            }
        };
        let block = Self { network, prefix };
        if block.masked(network) != Some(mask_base(network)) {
            return Err(wrong("bits are set after the prefix"));
        }
        Ok(block)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

fn mask_base(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

impl Cidr {
    /// Whether the block holds the address. An IPv4 block never holds an IPv6 address, mapped or not.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.masked(address).is_some_and(|masked| masked == mask_base(self.network))
    }

    /// Whether it is one address alone.
    fn is_exact(&self) -> bool {
        self.prefix == if self.network.is_ipv4() { 32 } else { 128 }
    }

    fn masked(&self, address: IpAddr) -> Option<u128> {
        let bits: u32 = match (self.network, address) {
            (IpAddr::V4(_), IpAddr::V4(_)) => 32,
            (IpAddr::V6(_), IpAddr::V6(_)) => 128,
            _ => return None,
        };
        let host_bits = bits.saturating_sub(u32::from(self.prefix));
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Some(mask_base(address) & mask)
    }
}

/// An address that may not be connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{address}` is {class}; to grant it, add `allow_addresses = [\"{}\"]` to connection `{connection}`",
    host_block(*address)
)]
pub struct AddressRefused {
    /// The connection that asked.
    pub connection: String,
    /// The address.
    pub address: IpAddr,
    /// What it is.
    pub class: Class,
}

fn host_block(address: IpAddr) -> Cidr {
    Cidr { network: address, prefix: if address.is_ipv4() { 32 } else { 128 } }
}

/// What one connection may reach.
#[derive(Clone, Debug)]
pub struct AddressRules {
    connection: String,
    allowed: Vec<Cidr>,
}

impl AddressRules {
    /// The rules of a connection with its `allow_addresses`.
    ///
    /// # Errors
    /// Names the entry that is not a block of addresses.
    pub fn new(connection: &str, allow_addresses: &[String]) -> Result<Self, CidrError> {
        let allowed = allow_addresses.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(Self { connection: connection.to_owned(), allowed })
    }

    /// Lets public addresses pass, and others that are listed. A metadata address must be listed by itself: a block
    /// around it is not enough.
    ///
    /// # Errors
    /// Says what the address is, and the line that would grant it.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefused> {
        let Some(class) = class(address) else { return Ok(()) };
        let listed =
            self.allowed.iter().any(|block| block.contains(address) && (class != Class::Metadata || block.is_exact()));
        if listed {
            return Ok(());
        }
        Err(AddressRefused { connection: self.connection.clone(), address, class })
    }

    /// Whether an operator listed the address, public or not.
    #[must_use]
    pub fn is_listed(&self, address: IpAddr) -> bool {
        self.allowed.iter().any(|block| block.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::{AddressRules, Cidr, Class, class};

    #[track_caller]
    fn check(address: &str, expected: Option<Class>) {
        assert_eq!(class(address.parse().unwrap()), expected, "{address}");
    }

    #[test]
    fn public_addresses_have_no_class() {
        for address in ["1.1.1.1", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "192.0.1.1"] {
            check(address, None);
        }
        for address in ["2606:4700:4700::1111", "2a00:1450::1", "2001:4860:4860::8888"] {
            check(address, None);
        }
    }

    #[test]
    fn every_special_class_is_recognised() {
        let table = [
            (Class::Loopback, &["127.0.0.1", "127.255.255.254", "::1"][..]),
            (Class::Private, &["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"]),
            (Class::LinkLocal, &["169.254.0.1", "fe80::1", "febf::1"]),
            (Class::UniqueLocal, &["fc00::1", "fd12:3456::1", "fec0::1"]),
            (Class::CarrierGradeNat, &["100.64.0.1", "100.127.255.255"]),
            (Class::Multicast, &["224.0.0.1", "239.255.255.255", "ff02::1"]),
            (Class::Broadcast, &["255.255.255.255"]),
            (Class::Unspecified, &["0.0.0.0", "0.1.2.3", "::"]),
            (Class::Documentation, &["192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.255.255"]),
            (Class::Documentation, &["2001:db8::1", "3fff::1"]),
            (Class::Reserved, &["192.0.0.1", "240.0.0.1", "255.255.255.254", "4000::1", "100::1", "2001:10::1"]),
            (Class::Translated, &["::ffff:1.1.1.1", "::ffff:127.0.0.1", "::ffff:0:10.0.0.1", "::127.0.0.1"]),
            (Class::Translated, &["64:ff9b::10.0.0.1", "64:ff9b:1::1", "2002:7f00:1::1", "2001:0:1::1"]),
            (Class::Metadata, &["169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254"]),
            (Class::Metadata, &["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fd20:ce::254"]),
        ];
        for (expected, addresses) in table {
            addresses.iter().for_each(|address| check(address, Some(expected)));
        }
    }

    #[test]
    fn a_listed_block_grants_and_a_neighbour_does_not() {
        let rules = AddressRules::new("erp", &["10.1.0.0/16".into(), "::1/128".into(), "127.0.0.1".into()]).unwrap();
        for address in ["10.1.2.3", "::1", "127.0.0.1", "8.8.8.8"] {
            assert_eq!(rules.check(address.parse().unwrap()), Ok(()), "{address}");
        }
        for address in ["10.2.0.1", "::2", "127.0.0.2", "::ffff:127.0.0.1"] {
            assert!(rules.check(address.parse().unwrap()).is_err(), "{address}");
        }
        assert_eq!(
            rules.check("10.2.0.1".parse().unwrap()).unwrap_err().to_string(),
            "`10.2.0.1` is a private address; to grant it, add `allow_addresses = [\"10.2.0.1/32\"]` to connection `erp`"
        );
    }

    #[test]
    fn metadata_must_be_listed_by_itself() {
        let metadata = "169.254.169.254".parse().unwrap();
        for block in ["0.0.0.0/0", "169.254.0.0/16", "169.254.169.254/31"] {
            assert!(AddressRules::new("x", &[block.into()]).unwrap().check(metadata).is_err(), "{block}");
        }
        assert!(AddressRules::new("x", &["169.254.169.254/32".into()]).unwrap().check(metadata).is_ok());
    }

    #[test]
    fn what_is_not_a_block_is_refused_by_name() {
        for wrong in ["localhost", "10.0.0.0/33", "10.0.0.1/8", "::1/129", "", "10.0.0.0/", "10.0.0.0/x"] {
            let error = wrong.parse::<Cidr>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{wrong}` is not a block")), "{error}");
        }
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains("1.2.3.4".parse().unwrap()));
        assert!("::/0".parse::<Cidr>().unwrap().contains("::1".parse().unwrap()));
    }
}
