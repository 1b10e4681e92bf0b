//! Signal operations, one pure function per file.
