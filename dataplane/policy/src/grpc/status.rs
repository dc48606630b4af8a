//! How a call ends: the status codes of gRPC.

use http::{HeaderMap, HeaderValue, StatusCode};

macro_rules! statuses {
    ($($name:ident = $code:literal, $text:literal, $word:literal;)*) => {
        /// A status code of gRPC.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "their names say what they are")]
        pub enum GrpcStatus {
            $($name = $code),*
        }

        impl GrpcStatus {
            /// Each of them, at the position of its code.
            pub const ALL: [Self; 17] = [$(Self::$name),*];

            /// As gRPC writes it: `UNAVAILABLE`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text),*
                }
            }

            /// As a config writes it: `unavailable`.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word),*
                }
            }

            /// As a header writes it: `14`.
            const fn digits(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($code)),*
                }
            }
        }
    };
}

statuses! {
    Ok = 0, "OK", "ok";
    Cancelled = 1, "CANCELLED", "cancelled";
    Unknown = 2, "UNKNOWN", "unknown";
    InvalidArgument = 3, "INVALID_ARGUMENT", "invalid_argument";
    DeadlineExceeded = 4, "DEADLINE_EXCEEDED", "deadline_exceeded";
    NotFound = 5, "NOT_FOUND", "not_found";
    AlreadyExists = 6, "ALREADY_EXISTS", "already_exists";
    PermissionDenied = 7, "PERMISSION_DENIED", "permission_denied";
    ResourceExhausted = 8, "RESOURCE_EXHAUSTED", "resource_exhausted";
    FailedPrecondition = 9, "FAILED_PRECONDITION", "failed_precondition";
    Aborted = 10, "ABORTED", "aborted";
    OutOfRange = 11, "OUT_OF_RANGE", "out_of_range";
    Unimplemented = 12, "UNIMPLEMENTED", "unimplemented";
    Internal = 13, "INTERNAL", "internal";
    Unavailable = 14, "UNAVAILABLE", "unavailable";
    DataLoss = 15, "DATA_LOSS", "data_loss";
    Unauthenticated = 16, "UNAUTHENTICATED", "unauthenticated";
}

impl GrpcStatus {
    /// Its number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The one with this number; `UNKNOWN` for a number that is none.
    pub fn from_code(code: u32) -> Self {
        let known = usize::try_from(code).ok().and_then(|code| Self::ALL.get(code));
        known.copied().unwrap_or(Self::Unknown)
    }

    /// The one that a config names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }

    /// What a head or trailers say.
    pub fn of(fields: &HeaderMap) -> Option<Self> {
        let value = fields.get(super::GRPC_STATUS)?;
        let code = value.to_str().ok().and_then(|text| text.parse().ok());
        Some(code.map_or(Self::Unknown, Self::from_code))
    }

    /// What a response means that says nothing of a call (gRPC's mapping of HTTP statuses).
    pub fn of_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502..=504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// The target is to blame, as for a 5xx. What the caller has asked for or how long it would wait says nothing of a
    /// target: or else any client could have targets taken out.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Unknown | Self::Internal | Self::Unavailable | Self::DataLoss)
    }

    /// The value of `grpc-status`.
    pub const fn header_value(self) -> HeaderValue {
        HeaderValue::from_static(self.digits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_found_by_its_code_its_word_and_its_header() {
        for (at, status) in GrpcStatus::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(status.code()), at);
            assert_eq!(GrpcStatus::from_code(at as u32), status);
            assert_eq!(GrpcStatus::from_word(status.word()), Some(status));
            assert_eq!(status.name().to_ascii_lowercase(), status.word());
            assert_eq!(status.header_value(), *at.to_string());
            let fields: HeaderMap =
                [(super::super::GRPC_STATUS, status.header_value())].into_iter().collect();
            assert_eq!(GrpcStatus::of(&fields), Some(status));
        }
        assert_eq!(GrpcStatus::of(&HeaderMap::new()), None);
        for odd in ["17", "-1", "", "0x1", "4294967296"] {
            let value = HeaderValue::from_static(odd);
            let fields: HeaderMap = [(super::super::GRPC_STATUS, value)].into_iter().collect();
            assert_eq!(GrpcStatus::of(&fields), Some(GrpcStatus::Unknown), "{odd}");
        }
    }

    #[test]
    fn an_http_status_means_what_grpc_says_that_it_means() {
        for (http, grpc) in [
            (400, GrpcStatus::Internal),
            (401, GrpcStatus::Unauthenticated),
            (403, GrpcStatus::PermissionDenied),
            (404, GrpcStatus::Unimplemented),
            (429, GrpcStatus::Unavailable),
            (500, GrpcStatus::Unknown),
            (502, GrpcStatus::Unavailable),
            (504, GrpcStatus::Unavailable),
            (200, GrpcStatus::Unknown),
        ] {
            assert_eq!(GrpcStatus::of_http(StatusCode::from_u16(http).unwrap()), grpc, "{http}");
        }
    }
}
