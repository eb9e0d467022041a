//! Fetches what the encoder needs; reports what is there. INTERFACE DRAFT: bodies follow.
#![allow(dead_code, unused_variables, missing_docs, reason = "draft")]
