"""What the book says to the database: rows are locked in the order of their ids, and moved by differences."""

from calotype.db.sql import ManySql, Sql

LOCK_ACCOUNTS = Sql(
    "SELECT id, posted_micro, held_micro, credit_limit_micro, version FROM account"
    " WHERE id {in:ids} ORDER BY id {for_update}"
)
OPEN_ACCOUNT = Sql(
    "INSERT INTO account (id, org_id, posted_micro, held_micro, credit_limit_micro, version, created_at_ms)"
    " VALUES (:id, :org_id, 0, 0, 0, 0, :now_ms) ON CONFLICT (id) DO NOTHING"
)
LOCK_BUDGETS = Sql(
    "SELECT key_id, spent_micro, held_micro, open_jobs FROM budget WHERE key_id {in:ids} ORDER BY key_id {for_update}"
)
OPEN_BUDGET = Sql(
    "INSERT INTO budget (key_id, org_id, spent_micro, held_micro, open_jobs) VALUES (:id, :org_id, 0, 0, 0)"
    " ON CONFLICT (key_id) DO NOTHING"
)
MOVE_ACCOUNT = ManySql(
    "UPDATE account SET posted_micro = posted_micro + :posted, held_micro = held_micro + :held,"
    " version = version + :entries WHERE id = :id"
)
MOVE_BUDGET = ManySql(
    "UPDATE budget SET spent_micro = spent_micro + :spent, held_micro = held_micro + :held,"
    " open_jobs = open_jobs + :open_jobs WHERE key_id = :id"
)
INSERT_HOLD = ManySql(
    "INSERT INTO hold (id, account_id, org_id, key_id, amount_micro, state, captured_micro, created_at_ms)"
    " VALUES (:id, :account_id, :org_id, :key_id, :amount, 'open', 0, :now_ms)"
)
SELECT_HOLDS = Sql(
    "SELECT id, account_id, org_id, key_id, amount_micro, state, captured_micro FROM hold"
    " WHERE id {in:ids} ORDER BY id {for_update}"
)
SETTLE_HOLD = ManySql(
    "UPDATE hold SET state = :state, captured_micro = :captured, settled_at_ms = :now_ms"
    " WHERE id = :id AND state = 'open'"
)
INSERT_JOURNAL = ManySql(
    "INSERT INTO journal (id, kind, org_id, job_id, idem_key, memo, created_at_ms)"
    " VALUES (:id, :kind, :org_id, :job_id, :idem_key, :memo, :now_ms)"
)
INSERT_ENTRY = ManySql(
    "INSERT INTO entry (journal_id, account_id, amount_micro, account_version, balance_after_micro)"
    " VALUES (:journal_id, :account_id, :amount, :version, :after)"
)
