//! S3 between our programs and those that nobody here wrote, on servers that nobody here wrote: aws-cli, s5cmd and rclone;
//! MinIO and the Versity gateway.

mod clients;
mod contract;
mod interop;
mod policies;
mod programs;
