"""Statements are written once and mean the same on both stores."""

from calotype.db import Database, Sql


def test_parameters_become_each_stores_own_placeholders() -> None:
    sql = Sql("SELECT * FROM t WHERE a = :a AND b_2 = :b_2")
    assert sql.sqlite == "SELECT * FROM t WHERE a = :a AND b_2 = :b_2"
    assert sql.postgres == "SELECT * FROM t WHERE a = %(a)s AND b_2 = %(b_2)s"


def test_a_cast_is_not_a_parameter() -> None:
    assert Sql("SELECT :a::bigint, now()::text").postgres == "SELECT %(a)s::bigint, now()::text"


def test_macros_become_each_stores_own_words() -> None:
    sql = Sql("SELECT id FROM t WHERE id {in:ids} {for_update}")
    assert sql.sqlite == "SELECT id FROM t WHERE id IN (SELECT value FROM json_each(:ids))"
    assert sql.postgres == "SELECT id FROM t WHERE id = ANY(%(ids)s) FOR UPDATE"
    assert Sql("SELECT id FROM t {skip_locked}").postgres == "SELECT id FROM t FOR UPDATE SKIP LOCKED"
    assert Sql("SELECT id FROM t {skip_locked}").sqlite == "SELECT id FROM t"


def test_line_breaks_fold_but_text_in_quotes_stays() -> None:
    sql = Sql("SELECT\n   'a  :b {in:c} 5%', \"odd  :name\" FROM t\n WHERE x = :x")
    assert sql.sqlite == "SELECT 'a  :b {in:c} 5%', \"odd  :name\" FROM t WHERE x = :x"
    assert sql.postgres == "SELECT 'a  :b {in:c} 5%%', \"odd  :name\" FROM t WHERE x = %(x)s"
    assert sql.lists == ()


SAME: dict[str, object] = {
    "SELECT 'at 12:30, :not_a_parameter'": "at 12:30, :not_a_parameter",
    "SELECT '100%'": "100%",
    "SELECT '%s %(name)s'": "%s %(name)s",
    "SELECT 'it''s  :x'": "it's  :x",
    "SELECT 7 % 4": 3,
    "SELECT CASE WHEN 'abc' LIKE 'a%' THEN 1 ELSE 0 END": 1,
}
KNOWN = {"a", "c:d", "it's", 'quo"te'}


async def test_both_stores_read_the_same_text(db: Database) -> None:
    for text, expected in SAME.items():
        assert await db.read(lambda tx, text=text: tx.row(Sql(text))) == (expected,)


async def test_membership_takes_any_list(db: Database) -> None:
    sql = Sql(
        "SELECT v FROM (SELECT 'a' AS v UNION SELECT 'c:d' UNION SELECT 'it''s' UNION SELECT 'quo\"te') known"
        " WHERE v {in:ids}"
    )
    for ids in ([], ["a"], [*KNOWN, "other"], ["x"] * 3):
        found = await db.read(lambda tx, ids=ids: [row[0] for row in tx.rows(sql, {"ids": ids})])
        assert sorted(found) == sorted(KNOWN & set(ids))


async def test_membership_takes_numbers(db: Database) -> None:
    sql = Sql("SELECT COUNT(*) FROM (SELECT 1 AS v UNION SELECT 2 UNION SELECT 3) known WHERE v {in:ids}")
    assert await db.read(lambda tx: tx.row(sql, {"ids": [1, 3, 9]})) == (2,)
