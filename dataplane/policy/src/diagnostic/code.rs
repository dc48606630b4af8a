//! The stable numbers of everything that can be wrong with a config.

use std::fmt;
use std::str::FromStr;

/// A stable number of a kind of problem, shown as `GW1203`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u16);

macro_rules! codes {
    ($($name:ident = $number:literal, $title:literal;)*) => {
        /// All codes; a number, once given, keeps its meaning for ever.
        ///
        /// | code | meaning |
        /// |---|---|
        $(#[doc = concat!("| GW", stringify!($number), " | ", $title, " |")])*
        impl Code {
            $(
                #[doc = concat!("GW", stringify!($number), ": ", $title)]
                pub const $name: Code = Code($number);
            )*

            /// Every code with its meaning, in the order of the numbers.
            pub const ALL: &[(Code, &'static str)] = &[$((Code($number), $title)),*];
        }
    };
}

codes! {
    // the text
    SYNTAX = 1001, "the file is not valid YAML";
    UNSUPPORTED = 1002, "YAML that a config does not use: tags, several documents, keys that are not plain text";
    TOO_LARGE = 1003, "the file is too large, too deep, or its aliases expand to too much";
    DUPLICATE_KEY = 1004, "a key stands twice in one map";
    // expansion
    EXPANSION = 1010, "a `${…}` that cannot be understood";
    UNSET = 1011, "a variable that is not set and has no default";
    UNREADABLE = 1012, "a `${file:…}` that cannot be read";
    // shape
    UNKNOWN_KEY = 1101, "a key that has no meaning here";
    MISSING_KEY = 1102, "a key that must be there is not";
    WRONG_TYPE = 1103, "a list where a text is expected, and the like";
    BAD_VALUE = 1104, "a value that its key cannot have";
    UNKNOWN_VALUE = 1105, "a value that is not one of the few its key can have";
    // meaning
    DUPLICATE_NAME = 1201, "two routes, upstreams or listeners of one name, or two shares of one upstream in a `split`";
    BAD_NAME = 1202, "a name that is empty, too long, or holds other characters than letters, digits, `.`, `_` and `-`";
    UNKNOWN_UPSTREAM = 1203, "a route refers to an upstream that does not exist";
    BACKEND = 1204, "a route has none of `targets`, `upstream`, `split`, `redirect` and `respond`, or several";
    PATH_MATCH = 1205, "a route has neither `prefix` nor `path`, or both";
    CONTRADICTION = 1206, "keys that do not go together";
    NO_TARGETS = 1207, "an upstream without targets";
    NO_WEIGHT = 1208, "an upstream whose targets, or a `split` whose shares, all have the weight 0";
    DUPLICATE_TARGET = 1209, "an address stands twice among the targets of one upstream, or of the upstreams of one `split`";
    HASH_ON = 1210, "`consistent_hash` without `hash_on`, or the reverse";
    DUPLICATE_ROUTE = 1211, "two routes for exactly the same requests";
    UNREACHABLE_ROUTE = 1212, "a route that never gets a request, because another one takes them all";
    SELF_TARGET = 1213, "a target that is the gateway itself";
    OUT_OF_RANGE = 1214, "a number outside of its limits";
    DUPLICATE_FILTER = 1215, "a filter stands twice in one list";
    FILTER_SETTINGS = 1217, "settings of a filter that do not make sense together";
    DUPLICATE_PORT = 1218, "two listeners of one port";
    UNKNOWN_LISTENER = 1219, "a route refers to a listener that does not exist";
    // allowed, but hardly meant: warnings
    UNUSED_UPSTREAM = 1901, "an upstream that no route uses";
    ODD_METHOD = 1902, "a method that nobody has registered, and that is nearly one that is";
    SHORT_SECRET = 1903, "a secret of tokens that is shorter than the hash that it is used with";
    PLAIN_ISSUER = 1904, "keys of tokens that are fetched over a network without TLS";
    UNVERIFIED_TARGETS = 1905, "targets whose certificates are not verified";
    // an instance
    LISTEN = 2001, "an instance cannot listen on a port of the config";
    SNAPSHOT = 2002, "an instance cannot use a snapshot: its hash, its cluster, or something in it that this version does not know";
    LOG_OUTPUT = 2003, "an instance cannot write a file of the access log";
    TLS_FILE = 2004, "an instance cannot use a certificate, a key or another file of TLS";
    TOO_MANY = 9001, "there are more errors than are shown";
    UNKNOWN = 9999, "a code that this version does not know";
}

impl Code {
    /// Whether a config with it is used all the same.
    pub fn is_warning(self) -> bool {
        (1900..2000).contains(&self.0)
    }

    /// What it means.
    pub fn title(self) -> &'static str {
        Self::ALL.iter().find(|(code, _)| *code == self).map_or("", |(_, title)| title)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GW{:04}", self.0)
    }
}

impl FromStr for Code {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("GW").unwrap_or(text).parse().map(Self)
    }
}
