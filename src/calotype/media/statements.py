"""Statements about artifacts that other packages run in their own transactions."""

from calotype.db import ManySql, Sql

INSERT_ARTIFACT = ManySql("""
    INSERT INTO artifact (job_id, n, org_id, key, stored, url, content_type, size_bytes, sha256, width, height,
                          duration_ms, name, created_at_ms, expires_at_ms, acl)
    VALUES (:job_id, :n, :org_id, :key, :stored, :url, :content_type, :size_bytes, :sha256, :width, :height,
            :duration_ms, :name, :created_at_ms, :expires_at_ms, :acl)
    ON CONFLICT (job_id, n) DO NOTHING
""")
"""Written by the finishing transaction of a job with `artifacts.as_params`; finishing twice writes once."""

ARTIFACTS_OF_JOBS = Sql("""
    SELECT job_id, n, key, stored, url, content_type, size_bytes, sha256, width, height, duration_ms, name,
           expires_at_ms, deleted_at_ms
    FROM artifact WHERE job_id {in:job_ids} ORDER BY job_id, n
""")
"""Rows for `artifacts.from_row`, for one job or many."""
