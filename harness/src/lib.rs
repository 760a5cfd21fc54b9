//! Workloads, nemeses, schedules and campaigns against live clusters.
