//! What goes wrong, in SAP's JSON shape.

use bytes::Bytes;
use http::{Response, StatusCode, header::RETRY_AFTER};
use serde_json::json;

use crate::sandbox::{server, unique};

/// A refusal by the service.
#[derive(Debug)]
pub(super) struct SapFailure {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// The property that it is about, or nothing.
    target: String,
    retry_after_s: Option<u32>,
}

impl SapFailure {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let code = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "/IWBEP/CX_MGW_NOT_AUTH_EXCEPTION",
            StatusCode::NOT_FOUND => "/IWBEP/CX_MGW_RESOURCE_NOT_FOUND",
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => "/IWBEP/CX_MGW_NOT_IMPL_EXCEPTION",
            StatusCode::INTERNAL_SERVER_ERROR => "/IWBEP/CX_MGW_TECH_EXCEPTION",
            _ => "/IWBEP/CX_MGW_BUSI_EXCEPTION",
        };
        Self { status, code, message: message.into(), target: String::new(), retry_after_s: None }
    }

    /// 400, about a property.
    pub(super) fn property(target: &str, message: impl Into<String>) -> Self {
        Self { target: target.to_owned(), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn not_found(segment: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Resource not found for the segment '{segment}'"))
    }

    pub(super) fn locked(retry_after_s: Option<u32>) -> Self {
        let message = "Document is currently being processed by user MUELLER";
        Self { retry_after_s, ..Self::new(StatusCode::LOCKED, message) }
    }

    pub(super) fn busy(retry_after_s: u32) -> Self {
        let failure = Self::new(StatusCode::SERVICE_UNAVAILABLE, "No dialog work process available");
        Self { code: "/IWFND/CM_MGW_RT", retry_after_s: Some(retry_after_s), ..failure }
    }

    pub(super) fn csrf() -> Self {
        Self { code: "/IWFND/CM_CSRF", ..Self::new(StatusCode::FORBIDDEN, "CSRF token validation failed") }
    }

    pub(super) fn response(&self) -> Response<Bytes> {
        let detail = json!({
            "code": self.code,
            "message": self.message,
            "propertyref": self.target,
            "severity": "error",
            "target": self.target,
        });
        let body = json!({ "error": {
            "code": self.code,
            "message": { "lang": "en", "value": self.message },
            "innererror": {
                "application": {
                    "component_id": "SD-SLS",
                    "service_namespace": "/SAP/",
                    "service_id": "API_SALES_ORDER_SRV",
                    "service_version": "0001",
                },
                "transactionid": unique(16).to_uppercase(),
                "Error_Resolution": { "SAP_Transaction": "Run transaction /IWFND/ERROR_LOG on the sandbox gateway" },
                "errordetails": [detail],
            },
        } });
        let mut response = server::json(self.status, &body);
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}
