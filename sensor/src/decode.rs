//! One frame to one segment.
