export { type HttpOptions, http } from './http.ts';
export { type KafkaMessage, type KafkaOptions, kafka } from './kafka.ts';
export { checkReport, type EvalReport, RefusedReport, type ReportFault } from './report.ts';
export { Reporter, type ReporterOptions, UndeliveredReports } from './reporter.ts';
export { reportKey, SHARDS, shardOf } from './shard.ts';
export { Busy, type Pack, Refused, type Target } from './target.ts';
