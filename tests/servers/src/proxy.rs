//! An HTTP/1.1 proxy that spoils what a test wants spoilt.
