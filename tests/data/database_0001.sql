BEGIN TRANSACTION;
CREATE TABLE account (
	id TEXT NOT NULL, 
	org_id TEXT NOT NULL, 
	posted_micro INTEGER NOT NULL, 
	held_micro INTEGER NOT NULL, 
	credit_limit_micro INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	created_at_ms INTEGER NOT NULL, 
	CONSTRAINT pk_account PRIMARY KEY (id), 
	CONSTRAINT ck_account_limit_not_negative CHECK (credit_limit_micro >= 0), 
	CONSTRAINT ck_account_held_not_negative CHECK (held_micro >= 0), 
	CONSTRAINT ck_account_funded CHECK (posted_micro - held_micro >= -credit_limit_micro)
)
 STRICT

;
INSERT INTO "account" VALUES('org/01a1fa70-7f2c-7e79-93fc-654e8c0e0021','01a1fa70-7f2c-7e79-93fc-654e8c0e0021',4997000,0,0,4,1795203041957);
CREATE TABLE account_change (
	id INTEGER NOT NULL, 
	n INTEGER NOT NULL, 
	CONSTRAINT pk_account_change PRIMARY KEY (id)
)
 STRICT

;
INSERT INTO "account_change" VALUES(1,2);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE api_key (
	id TEXT NOT NULL, 
	org_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	secret_hash TEXT NOT NULL, 
	key_class TEXT NOT NULL, 
	scopes TEXT NOT NULL, 
	models TEXT, 
	spend_cap_micro INTEGER, 
	requests_per_minute INTEGER, 
	max_in_progress INTEGER, 
	expires_at_ms INTEGER, 
	revoked_at_ms INTEGER, 
	created_at_ms INTEGER NOT NULL, 
	CONSTRAINT pk_api_key PRIMARY KEY (id), 
	CONSTRAINT fk_api_key_org_id FOREIGN KEY(org_id) REFERENCES organisation (id)
)
 STRICT

;
INSERT INTO "api_key" VALUES('37d925e5072bef5e','01a1fa70-7f2c-7e79-93fc-654e8c0e0021','me','c97d1fc5beb202edd95a6fa650ee35a72ae34b9f3623781e17c80e4014a25175','paid','["API"]',NULL,NULL,NULL,NULL,NULL,NULL,1795203040386);
CREATE TABLE artifact (
	job_id TEXT NOT NULL, 
	n INTEGER NOT NULL, 
	org_id TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	stored INTEGER NOT NULL, 
	url TEXT, 
	content_type TEXT NOT NULL, 
	size_bytes INTEGER, 
	sha256 TEXT, 
	width INTEGER, 
	height INTEGER, 
	duration_ms INTEGER, 
	name TEXT NOT NULL, 
	created_at_ms INTEGER NOT NULL, 
	expires_at_ms INTEGER NOT NULL, 
	deleted_at_ms INTEGER, 
	CONSTRAINT pk_artifact PRIMARY KEY (job_id, n)
);
INSERT INTO "artifact" VALUES('01a1fa70-8bc8-7986-95cb-8e84947f004c',0,'01a1fa70-7f2c-7e79-93fc-654e8c0e0021','01a1fa70-7f2c-7e79-93fc-654e8c0e0021/01a1fa70-8bc8-7986-95cb-8e84947f004c/0.png',1,NULL,'image/png',327086,'d9a344b5d805c485a1bd536b6f85c6dd76ff94dc88bf2e0814db6f496aef97ec',1024,1024,NULL,'0.png',1795203043106,1795807843102,NULL);
INSERT INTO "artifact" VALUES('01a1fa70-8f2c-703a-b19f-02fcd0b48d79',0,'01a1fa70-7f2c-7e79-93fc-654e8c0e0021','01a1fa70-7f2c-7e79-93fc-654e8c0e0021/01a1fa70-8f2c-703a-b19f-02fcd0b48d79/0.png',1,NULL,'image/png',328627,'8d8846d6ad0bfe217e30726143c7ce1db19c396b452c485cef75571ac63cdc69',1024,1024,NULL,'0.png',1795203043451,1795807843446,NULL);
INSERT INTO "artifact" VALUES('01a1fa70-9095-78ee-86cf-7b09323639f0',0,'01a1fa70-7f2c-7e79-93fc-654e8c0e0021','01a1fa70-7f2c-7e79-93fc-654e8c0e0021/01a1fa70-9095-78ee-86cf-7b09323639f0/0.png',1,NULL,'image/png',324965,'c3ad4bf17086ae7213a8fc91dc17ac722ed672205734d9c6575be0b8637bbabb',1024,1024,NULL,'0.png',1795203043880,1795807843875,NULL);
CREATE TABLE budget (
	key_id TEXT NOT NULL, 
	org_id TEXT NOT NULL, 
	spent_micro INTEGER NOT NULL, 
	held_micro INTEGER NOT NULL, 
	open_jobs INTEGER NOT NULL, 
	CONSTRAINT pk_budget PRIMARY KEY (key_id), 
	CONSTRAINT ck_budget_held_not_negative CHECK (held_micro >= 0), 
	CONSTRAINT ck_budget_open_not_negative CHECK (open_jobs >= 0)
)
 STRICT

;
INSERT INTO "budget" VALUES('37d925e5072bef5e','01a1fa70-7f2c-7e79-93fc-654e8c0e0021',3000,0,1);
CREATE TABLE entry (
	journal_id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	amount_micro INTEGER NOT NULL, 
	account_version INTEGER, 
	balance_after_micro INTEGER, 
	CONSTRAINT pk_entry PRIMARY KEY (journal_id, account_id), 
	CONSTRAINT ck_entry_amount_not_zero CHECK (amount_micro <> 0), 
	CONSTRAINT fk_entry_journal_id FOREIGN KEY(journal_id) REFERENCES journal (id)
)
 WITHOUT ROWID,
 STRICT

;
INSERT INTO "entry" VALUES('01a1fa70-8aa5-7512-8946-1fc8f1fbed29','house/grants',-5000000,NULL,NULL);
INSERT INTO "entry" VALUES('01a1fa70-8aa5-7512-8946-1fc8f1fbed29','org/01a1fa70-7f2c-7e79-93fc-654e8c0e0021',5000000,1,5000000);
INSERT INTO "entry" VALUES('01a1fa70-8f22-7c1d-a989-ea20d2f83c27','house/revenue',1000,NULL,NULL);
INSERT INTO "entry" VALUES('01a1fa70-8f22-7c1d-a989-ea20d2f83c27','org/01a1fa70-7f2c-7e79-93fc-654e8c0e0021',-1000,2,4999000);
INSERT INTO "entry" VALUES('01a1fa70-907c-7b92-8bf0-4b1b38429314','house/revenue',1000,NULL,NULL);
INSERT INTO "entry" VALUES('01a1fa70-907c-7b92-8bf0-4b1b38429314','org/01a1fa70-7f2c-7e79-93fc-654e8c0e0021',-1000,3,4998000);
INSERT INTO "entry" VALUES('01a1fa70-9228-7a97-9d02-ae680e22935f','house/revenue',1000,NULL,NULL);
INSERT INTO "entry" VALUES('01a1fa70-9228-7a97-9d02-ae680e22935f','org/01a1fa70-7f2c-7e79-93fc-654e8c0e0021',-1000,4,4997000);
CREATE TABLE event (
	job_id TEXT NOT NULL, 
	seq INTEGER NOT NULL, 
	org_id TEXT NOT NULL, 
	type TEXT NOT NULL, 
	data TEXT, 
	at_ms INTEGER NOT NULL, 
	CONSTRAINT pk_event PRIMARY KEY (job_id, seq)
)
 WITHOUT ROWID,
 STRICT

;
INSERT INTO "event" VALUES('01a1fa70-8bc8-7986-95cb-8e84947f004c',1,'01a1fa70-7f2c-7e79-93fc-654e8c0e0021','job.accepted',NULL,1795203042248);
INSERT INTO "event" VALUES('01a1fa70-8bc8-7986-95cb-8e84947f004c',2,'01a1fa70-7f2c-7e79-93fc-654e8c0e0021','job.succeeded',NULL,1795203043106);
INSERT INTO "event" VALUES('01a1fa70-8f2c-703a-b19f-02fcd0b48d79',1,'01a1fa70-7f2c-7e79-93fc-654e8c0e0021','job.accepted',NULL,1795203043115);
INSERT INTO "event" VALUES('01a1fa70-8f2c-703a-b19f-02fcd0b48d79',2,'01a1fa70-7f2c-7e79-93fc-654e8c0e0021','job.succeeded',NULL,1795203043451);
INSERT INTO "event" VALUES('01a1fa70-9095-78ee-86cf-7b09323639f0',1,'01a1fa70-7f2c-7e79-93fc-654e8c0e0021','job.accepted',NULL,1795203043477);
INSERT INTO "event" VALUES('01a1fa70-9095-78ee-86cf-7b09323639f0',2,'01a1fa70-7f2c-7e79-93fc-654e8c0e0021','job.succeeded',NULL,1795203043880);
INSERT INTO "event" VALUES('01a1fa70-9233-7184-b8ea-5ff1661e9e1d',1,'01a1fa70-7f2c-7e79-93fc-654e8c0e0021','job.accepted',NULL,1795203043890);
INSERT INTO "event" VALUES('01a1fa70-9233-7184-b8ea-5ff1661e9e1d',2,'01a1fa70-7f2c-7e79-93fc-654e8c0e0021','job.submitting',NULL,1795203043896);
CREATE TABLE hold (
	id TEXT NOT NULL, 
	account_id TEXT NOT NULL, 
	org_id TEXT NOT NULL, 
	key_id TEXT, 
	amount_micro INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	captured_micro INTEGER NOT NULL, 
	created_at_ms INTEGER NOT NULL, 
	settled_at_ms INTEGER, 
	CONSTRAINT pk_hold PRIMARY KEY (id), 
	CONSTRAINT ck_hold_state CHECK (state IN ('open', 'captured', 'voided')), 
	CONSTRAINT ck_hold_amount_not_negative CHECK (amount_micro >= 0), 
	CONSTRAINT ck_hold_captured_within_amount CHECK (captured_micro BETWEEN 0 AND amount_micro)
)
 STRICT

;
INSERT INTO "hold" VALUES('01a1fa70-8bc8-7986-95cb-8e84947f004c','org/01a1fa70-7f2c-7e79-93fc-654e8c0e0021','01a1fa70-7f2c-7e79-93fc-654e8c0e0021','37d925e5072bef5e',1000,'captured',1000,1795203042248,1795203043106);
INSERT INTO "hold" VALUES('01a1fa70-8f2c-703a-b19f-02fcd0b48d79','org/01a1fa70-7f2c-7e79-93fc-654e8c0e0021','01a1fa70-7f2c-7e79-93fc-654e8c0e0021','37d925e5072bef5e',1000,'captured',1000,1795203043115,1795203043451);
INSERT INTO "hold" VALUES('01a1fa70-9095-78ee-86cf-7b09323639f0','org/01a1fa70-7f2c-7e79-93fc-654e8c0e0021','01a1fa70-7f2c-7e79-93fc-654e8c0e0021','37d925e5072bef5e',1000,'captured',1000,1795203043477,1795203043880);
INSERT INTO "hold" VALUES('01a1fa70-9233-7184-b8ea-5ff1661e9e1d','org/01a1fa70-7f2c-7e79-93fc-654e8c0e0021','01a1fa70-7f2c-7e79-93fc-654e8c0e0021','37d925e5072bef5e',0,'open',0,1795203043890,NULL);
CREATE TABLE idempotency (
	id TEXT NOT NULL, 
	request_hash TEXT NOT NULL, 
	job_id TEXT NOT NULL, 
	answer TEXT NOT NULL, 
	answer_by TEXT, 
	answer_ended_ms INTEGER, 
	expires_at_ms INTEGER NOT NULL, 
	CONSTRAINT pk_idempotency PRIMARY KEY (id), 
	CONSTRAINT ck_idempotency_answer CHECK (answer IN ('open', 'delivered', 'broken'))
)
 WITHOUT ROWID,
 STRICT

;
INSERT INTO "idempotency" VALUES('01a1fa70-7f2c-7e79-93fc-654e8c0e0021/fp/48a5d5d7f0e38dd7fb7caa8009f5430b371d2dce','48a5d5d7f0e38dd7fb7caa8009f5430b371d2dce','01a1fa70-8bc8-7986-95cb-8e84947f004c','delivered','01a1fa70-7eb1-7583-ba24-a456b5bb6927',1795203043108,1795203642248);
INSERT INTO "idempotency" VALUES('01a1fa70-7f2c-7e79-93fc-654e8c0e0021/fp/6278e3dfb9e55d9147f6ee3fe0fbc22864fa75b9','6278e3dfb9e55d9147f6ee3fe0fbc22864fa75b9','01a1fa70-8f2c-703a-b19f-02fcd0b48d79','delivered','01a1fa70-7eb1-7583-ba24-a456b5bb6927',1795203043453,1795203643115);
INSERT INTO "idempotency" VALUES('01a1fa70-7f2c-7e79-93fc-654e8c0e0021/fp/62e30b0810472cc296922f8a0a44a8288173bdbc','62e30b0810472cc296922f8a0a44a8288173bdbc','01a1fa70-9095-78ee-86cf-7b09323639f0','delivered','01a1fa70-7eb1-7583-ba24-a456b5bb6927',1795203043881,1795203643477);
INSERT INTO "idempotency" VALUES('01a1fa70-7f2c-7e79-93fc-654e8c0e0021/fp/bf3738d85c5937a2aa764ba1fbf53ec14f604092','bf3738d85c5937a2aa764ba1fbf53ec14f604092','01a1fa70-9233-7184-b8ea-5ff1661e9e1d','delivered','01a1fa70-7eb1-7583-ba24-a456b5bb6927',1795203043932,1795203643890);
CREATE TABLE instance (
	id TEXT NOT NULL, 
	host TEXT NOT NULL, 
	pid INTEGER NOT NULL, 
	started_at_ms INTEGER NOT NULL, 
	seen_at_ms INTEGER NOT NULL, 
	CONSTRAINT pk_instance PRIMARY KEY (id)
)
 STRICT

;
INSERT INTO "instance" VALUES('01a1fa70-7eb1-7583-ba24-a456b5bb6927','early',1,1795203039036,1795203042037);
CREATE TABLE job (
	id TEXT NOT NULL, 
	org_id TEXT NOT NULL, 
	key_id TEXT NOT NULL, 
	state TEXT NOT NULL, 
	dialect TEXT NOT NULL, 
	operation TEXT NOT NULL, 
	model TEXT NOT NULL, 
	data_class TEXT NOT NULL, 
	region TEXT NOT NULL, 
	priority INTEGER NOT NULL, 
	"plan" TEXT NOT NULL, 
	input TEXT, 
	provider TEXT NOT NULL, 
	route INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	outcome TEXT, 
	result TEXT, 
	error TEXT, 
	progress INTEGER NOT NULL, 
	cancel_requested INTEGER NOT NULL, 
	events INTEGER NOT NULL, 
	lease_by TEXT, 
	lease_n INTEGER NOT NULL, 
	next_at_ms INTEGER NOT NULL, 
	deadline_at_ms INTEGER NOT NULL, 
	webhook_url TEXT, 
	customer TEXT, 
	tags TEXT, 
	quote_micro INTEGER NOT NULL, 
	charged_micro INTEGER, 
	created_at_ms INTEGER NOT NULL, 
	started_at_ms INTEGER, 
	finished_at_ms INTEGER, 
	CONSTRAINT pk_job PRIMARY KEY (id), 
	CONSTRAINT ck_job_priority CHECK (priority BETWEEN -1 AND 1), 
	CONSTRAINT ck_job_progress CHECK (progress BETWEEN 0 AND 100)
)
 STRICT

;
INSERT INTO "job" VALUES('01a1fa70-8bc8-7986-95cb-8e84947f004c','01a1fa70-7f2c-7e79-93fc-654e8c0e0021','37d925e5072bef5e','succeeded','openai','text-to-image','local/sketch','general','WORLD',0,'{"routes":[{"provider":"local","upstream":"sketch","region":"*","fields":{},"constants":{}}],"quote":{"model":"local/sketch","unit":"image","hold_micro":1000,"outputs":1,"per":1,"margin_bps":0,"lines":[{"what":"image","quantity":1,"micro":1000,"usage":null,"step":1}],"priced_quantity":1},"media_fields":{},"warnings":[],"label":"procedural illustration, not an AI model","metered":true,"request_id":"01a1fa70-8bc2-782a-b15d-c18f6ed6a9cc","media_s":null,"output":"image","wants":{}}','{"n":1,"prompt":"boats 1"}','local',0,1,NULL,'{"data":{"engine":"sketch","is_ai_model":false,"label":"procedural illustration, not an AI model","seed":1605473516},"usage":{},"texts":[null],"warnings":["not drawn: \"1\" (words local/sketch does not know)"]}',NULL,100,0,2,NULL,1,1795203052370,1795206642248,NULL,'c1',NULL,1000,1000,1795203042248,1795203042248,1795203043106);
INSERT INTO "job" VALUES('01a1fa70-8f2c-703a-b19f-02fcd0b48d79','01a1fa70-7f2c-7e79-93fc-654e8c0e0021','37d925e5072bef5e','succeeded','openai','text-to-image','local/sketch','general','WORLD',0,'{"routes":[{"provider":"local","upstream":"sketch","region":"*","fields":{},"constants":{}}],"quote":{"model":"local/sketch","unit":"image","hold_micro":1000,"outputs":1,"per":1,"margin_bps":0,"lines":[{"what":"image","quantity":1,"micro":1000,"usage":null,"step":1}],"priced_quantity":1},"media_fields":{},"warnings":[],"label":"procedural illustration, not an AI model","metered":true,"request_id":"01a1fa70-8f2b-7a9b-8b4e-cbf924285473","media_s":null,"output":"image","wants":{}}','{"n":1,"prompt":"boats 2"}','local',0,1,NULL,'{"data":{"engine":"sketch","is_ai_model":false,"label":"procedural illustration, not an AI model","seed":4194482874},"usage":{},"texts":[null],"warnings":["not drawn: \"2\" (words local/sketch does not know)"]}',NULL,100,0,2,NULL,1,1795203053115,1795206643115,NULL,'c2',NULL,1000,1000,1795203043115,1795203043115,1795203043451);
INSERT INTO "job" VALUES('01a1fa70-9095-78ee-86cf-7b09323639f0','01a1fa70-7f2c-7e79-93fc-654e8c0e0021','37d925e5072bef5e','succeeded','openai','text-to-image','local/sketch','general','WORLD',0,'{"routes":[{"provider":"local","upstream":"sketch","region":"*","fields":{},"constants":{}}],"quote":{"model":"local/sketch","unit":"image","hold_micro":1000,"outputs":1,"per":1,"margin_bps":0,"lines":[{"what":"image","quantity":1,"micro":1000,"usage":null,"step":1}],"priced_quantity":1},"media_fields":{},"warnings":[],"label":"procedural illustration, not an AI model","metered":true,"request_id":"01a1fa70-9095-7376-b88e-b2b9bbbe9a53","media_s":null,"output":"image","wants":{}}','{"n":1,"prompt":"boats 3"}','local',0,1,NULL,'{"data":{"engine":"sketch","is_ai_model":false,"label":"procedural illustration, not an AI model","seed":962752625},"usage":{},"texts":[null],"warnings":["not drawn: \"3\" (words local/sketch does not know)"]}',NULL,100,0,2,NULL,1,1795203053477,1795206643477,NULL,'c3',NULL,1000,1000,1795203043477,1795203043477,1795203043880);
INSERT INTO "job" VALUES('01a1fa70-9233-7184-b8ea-5ff1661e9e1d','01a1fa70-7f2c-7e79-93fc-654e8c0e0021','37d925e5072bef5e','submitting','openai','text-to-video','local/sketch-video','general','WORLD',0,'{"routes":[{"provider":"local","upstream":"sketch-video","region":"*","fields":{},"constants":{}}],"quote":{"model":"local/sketch-video","unit":"second","hold_micro":0,"outputs":1,"per":1,"margin_bps":1000,"lines":[{"what":"second","quantity":20,"micro":0,"usage":"duration_ms","step":1000}],"priced_quantity":1},"media_fields":{},"warnings":[],"label":"procedural animation, not an AI model","metered":true,"request_id":"01a1fa70-9232-7b6a-9a61-905ecf227cd9","media_s":null,"output":"video","wants":{}}','{"seconds":1,"fps":24,"prompt":"waves"}','local',0,1,NULL,NULL,NULL,0,0,2,'01a1fa70-7eb1-7583-ba24-a456b5bb6927',1,1795203053896,32503680000000,NULL,NULL,NULL,0,NULL,1795203043890,1795203043896,NULL);
CREATE TABLE journal (
	id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	org_id TEXT NOT NULL, 
	job_id TEXT, 
	idem_key TEXT, 
	memo TEXT, 
	created_at_ms INTEGER NOT NULL, 
	CONSTRAINT pk_journal PRIMARY KEY (id), 
	CONSTRAINT uq_journal_idem_key UNIQUE (idem_key)
)
 STRICT

;
INSERT INTO "journal" VALUES('01a1fa70-8aa5-7512-8946-1fc8f1fbed29','grant','01a1fa70-7f2c-7e79-93fc-654e8c0e0021',NULL,NULL,NULL,1795203041957);
INSERT INTO "journal" VALUES('01a1fa70-8f22-7c1d-a989-ea20d2f83c27','capture','01a1fa70-7f2c-7e79-93fc-654e8c0e0021','01a1fa70-8bc8-7986-95cb-8e84947f004c','capture:01a1fa70-8bc8-7986-95cb-8e84947f004c',NULL,1795203043106);
INSERT INTO "journal" VALUES('01a1fa70-907c-7b92-8bf0-4b1b38429314','capture','01a1fa70-7f2c-7e79-93fc-654e8c0e0021','01a1fa70-8f2c-703a-b19f-02fcd0b48d79','capture:01a1fa70-8f2c-703a-b19f-02fcd0b48d79',NULL,1795203043451);
INSERT INTO "journal" VALUES('01a1fa70-9228-7a97-9d02-ae680e22935f','capture','01a1fa70-7f2c-7e79-93fc-654e8c0e0021','01a1fa70-9095-78ee-86cf-7b09323639f0','capture:01a1fa70-9095-78ee-86cf-7b09323639f0',NULL,1795203043880);
CREATE TABLE organisation (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	status TEXT NOT NULL, 
	default_region TEXT, 
	strict_residency INTEGER NOT NULL, 
	created_at_ms INTEGER NOT NULL, 
	CONSTRAINT pk_organisation PRIMARY KEY (id), 
	CONSTRAINT uq_organisation_name UNIQUE (name)
)
 STRICT

;
INSERT INTO "organisation" VALUES('01a1fa70-7f2c-7e79-93fc-654e8c0e0021','default','active',NULL,0,1795203039020);
CREATE TABLE outbox (
	id TEXT NOT NULL, 
	org_id TEXT NOT NULL, 
	job_id TEXT NOT NULL, 
	type TEXT NOT NULL, 
	dialect TEXT NOT NULL, 
	url TEXT NOT NULL, 
	state TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	next_at_ms INTEGER NOT NULL, 
	lease_by TEXT, 
	created_at_ms INTEGER NOT NULL, 
	delivered_at_ms INTEGER, 
	CONSTRAINT pk_outbox PRIMARY KEY (id)
)
 STRICT

;
CREATE TABLE submission (
	job_id TEXT NOT NULL, 
	attempt INTEGER NOT NULL, 
	provider TEXT NOT NULL, 
	upstream_model TEXT NOT NULL, 
	state TEXT NOT NULL, 
	handle TEXT, 
	upstream_id TEXT, 
	error TEXT, 
	cost_micro INTEGER, 
	cost_amount TEXT, 
	cost_unit TEXT, 
	cost_source TEXT, 
	cost_posted INTEGER NOT NULL, 
	created_at_ms INTEGER NOT NULL, 
	answered_at_ms INTEGER, 
	CONSTRAINT pk_submission PRIMARY KEY (job_id, attempt), 
	CONSTRAINT ck_submission_state CHECK (state IN ('intent', 'accepted', 'rejected', 'done', 'failed', 'ambiguous'))
)
 WITHOUT ROWID,
 STRICT

;
INSERT INTO "submission" VALUES('01a1fa70-8bc8-7986-95cb-8e84947f004c',1,'local','sketch','done',NULL,NULL,NULL,0,NULL,NULL,'table',0,1795203042248,1795203043106);
INSERT INTO "submission" VALUES('01a1fa70-8f2c-703a-b19f-02fcd0b48d79',1,'local','sketch','done',NULL,NULL,NULL,0,NULL,NULL,'table',0,1795203043115,1795203043451);
INSERT INTO "submission" VALUES('01a1fa70-9095-78ee-86cf-7b09323639f0',1,'local','sketch','done',NULL,NULL,NULL,0,NULL,NULL,'table',0,1795203043477,1795203043880);
INSERT INTO "submission" VALUES('01a1fa70-9233-7184-b8ea-5ff1661e9e1d',1,'local','sketch-video','intent',NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,1795203043896,NULL);
CREATE TABLE upload (
	id TEXT NOT NULL, 
	org_id TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	filename TEXT NOT NULL, 
	purpose TEXT NOT NULL, 
	content_type TEXT NOT NULL, 
	size_bytes INTEGER NOT NULL, 
	sha256 TEXT NOT NULL, 
	created_at_ms INTEGER NOT NULL, 
	expires_at_ms INTEGER NOT NULL, 
	CONSTRAINT pk_upload PRIMARY KEY (id)
);
CREATE TABLE webhook_delivery (
	outbox_id TEXT NOT NULL, 
	attempt INTEGER NOT NULL, 
	status INTEGER, 
	error TEXT, 
	duration_ms INTEGER NOT NULL, 
	at_ms INTEGER NOT NULL, 
	CONSTRAINT pk_webhook_delivery PRIMARY KEY (outbox_id, attempt)
)
 WITHOUT ROWID,
 STRICT

;
CREATE TABLE write_mark (
	writer TEXT NOT NULL, 
	batch INTEGER NOT NULL, 
	at_ms INTEGER NOT NULL, 
	CONSTRAINT pk_write_mark PRIMARY KEY (writer)
)
 STRICT

;
CREATE INDEX ix_artifact_expires_at_ms ON artifact (expires_at_ms);
CREATE INDEX ix_artifact_key ON artifact ("key");
CREATE INDEX ix_hold_open ON hold (account_id) WHERE state = 'open';
CREATE INDEX ix_idempotency_expires_at_ms ON idempotency (expires_at_ms);
CREATE INDEX ix_job_due ON job (priority, next_at_ms) WHERE state IN ('queued', 'submitting', 'running', 'storing');
CREATE INDEX ix_job_org_due ON job (org_id, priority, next_at_ms) WHERE state IN ('queued', 'submitting', 'running', 'storing');
CREATE INDEX ix_job_org_id_id ON job (org_id, id);
CREATE INDEX ix_job_provider_started ON job (provider) WHERE state IN ('submitting', 'running', 'storing');
CREATE INDEX ix_outbox_due ON outbox (next_at_ms) WHERE state = 'pending';
CREATE INDEX ix_outbox_job_id ON outbox (job_id);
CREATE INDEX ix_outbox_org_due ON outbox (org_id, next_at_ms) WHERE state = 'pending';
CREATE INDEX ix_outbox_org_id_created_at_ms ON outbox (org_id, created_at_ms);
CREATE INDEX ix_submission_unposted ON submission (provider) WHERE cost_posted = 0 AND cost_micro > 0;
CREATE INDEX ix_upload_expires_at_ms ON upload (expires_at_ms);
CREATE INDEX ix_upload_key ON upload ("key");
CREATE INDEX ix_upload_org_id ON upload (org_id, created_at_ms);
CREATE INDEX ix_api_key_org_id ON api_key (org_id);
CREATE INDEX ix_entry_account_id_account_version ON entry (account_id, account_version);
CREATE TRIGGER journal_no_update BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: write a new journal that corrects the old one'); END;
CREATE TRIGGER journal_no_delete BEFORE DELETE ON journal BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: write a new journal that corrects the old one'); END;
CREATE TRIGGER entry_no_update BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: write a new journal that corrects the old one'); END;
CREATE TRIGGER entry_no_delete BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: write a new journal that corrects the old one'); END;
COMMIT;
