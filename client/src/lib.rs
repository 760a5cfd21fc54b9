//! Wire types, tarpc services, transport and the client library that knows the layout.
