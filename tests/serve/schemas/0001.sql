PRAGMA foreign_keys=OFF;
BEGIN;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" ("version_num") VALUES ('0001');
CREATE TABLE attempts (
	bucket VARCHAR(200) NOT NULL, 
	window BIGINT NOT NULL, 
	count INTEGER NOT NULL, 
	expires_at DATETIME NOT NULL, 
	CONSTRAINT pk_attempts PRIMARY KEY (bucket, window)
);
INSERT INTO "attempts" ("bucket", "window", "count", "expires_at") VALUES ('attempts_1', 1, 1, '2026-11-26 12:00:00.000000');
CREATE INDEX ix_attempts_expires_at ON attempts (expires_at);
CREATE TABLE audit (
	sequence INTEGER NOT NULL, 
	at VARCHAR(40) NOT NULL, 
	actor VARCHAR(64) NOT NULL, 
	action VARCHAR(60) NOT NULL, 
	target VARCHAR(200) NOT NULL, 
	address VARCHAR(64) NOT NULL, 
	details VARCHAR(2000) NOT NULL, 
	previous VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_audit PRIMARY KEY (sequence)
);
INSERT INTO "audit" ("sequence", "at", "actor", "action", "target", "address", "details", "previous", "hash") VALUES (1, '2026-11-26T12:00:00.000000+00:00', 'usr_1', 'export', '', '', '{}', '0000000000000000000000000000000000000000000000000000000000000000', '4f5f0f6b887cae47b27923c45cf60f0a4edb3ca72388719639fcfc4592d4d86f');
CREATE INDEX ix_audit_action ON audit (action);
CREATE TABLE invitations (
	id VARCHAR(64) NOT NULL, 
	token_hash VARCHAR(64) NOT NULL, 
	role VARCHAR(20) NOT NULL, 
	email VARCHAR(320), 
	created_by VARCHAR(64), 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	used_at DATETIME, 
	used_by VARCHAR(64), 
	CONSTRAINT pk_invitations PRIMARY KEY (id), 
	CONSTRAINT uq_invitations_token_hash UNIQUE (token_hash)
);
INSERT INTO "invitations" ("id", "token_hash", "role", "email", "created_by", "created_at", "expires_at", "used_at", "used_by") VALUES ('invitations_1', 'x', 'x', 'x', 'x', '2026-11-26 12:00:00.000000', '2026-11-26 12:00:00.000000', '2026-11-26 12:00:00.000000', 'x');
CREATE TABLE keys (
	owner_id VARCHAR(64) NOT NULL, 
	wrapped BLOB NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_keys PRIMARY KEY (owner_id)
);
INSERT INTO "keys" ("owner_id", "wrapped", "created_at") VALUES ('usr_1', X'019059A0ECAABBFF5762E0FBAAF6AC22E3B7F5B1583AC676470EEDB97905805EFEC6A5179EACAC86B222EB2ED63D361EE8678EDDBED172E5EF4A4AD9CC', '2026-11-26 12:00:00.000000');
CREATE TABLE people (
	id VARCHAR(64) NOT NULL, 
	email VARCHAR(320) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	password_hash VARCHAR(300), 
	role VARCHAR(20) NOT NULL, 
	status VARCHAR(20) NOT NULL, 
	language VARCHAR(10), 
	theme VARCHAR(10), 
	sealed_instructions BLOB, 
	memory_enabled BOOLEAN NOT NULL, 
	training_consent BOOLEAN NOT NULL, 
	consent_at DATETIME, 
	daily_tokens BIGINT, 
	sealed_totp BLOB, 
	totp_enabled BOOLEAN NOT NULL, 
	totp_last_step BIGINT, 
	created_at DATETIME NOT NULL, 
	last_seen_at DATETIME, 
	CONSTRAINT pk_people PRIMARY KEY (id), 
	CONSTRAINT uq_people_email UNIQUE (email)
);
INSERT INTO "people" ("id", "email", "name", "password_hash", "role", "status", "language", "theme", "sealed_instructions", "memory_enabled", "training_consent", "consent_at", "daily_tokens", "sealed_totp", "totp_enabled", "totp_last_step", "created_at", "last_seen_at") VALUES ('usr_1', 'anna@x.org', 'Anna', NULL, 'admin', 'active', NULL, NULL, NULL, 1, 0, NULL, NULL, NULL, 0, NULL, '2026-11-26 12:00:00.000000', NULL);
CREATE TABLE server_values (
	name VARCHAR(100) NOT NULL, 
	value JSON NOT NULL, 
	CONSTRAINT pk_server_values PRIMARY KEY (name)
);
INSERT INTO "server_values" ("name", "value") VALUES ('audit_head', '{"sequence": 1, "hash": "4f5f0f6b887cae47b27923c45cf60f0a4edb3ca72388719639fcfc4592d4d86f", "seal": "AUsijuRNC5bUVuBXgajO0+N5O2kzN7t+zqcVQ5ekNLFOCLI7IPWHBLdLXbNiZiWjjU4mMc79jKj+PX/4IR4fF/xa9OSbOSbpl5fooQhISUkNWfxmeBKtzpQQf1c5YCo="}');
CREATE TABLE api_keys (
	id VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	start VARCHAR(20) NOT NULL, 
	key_hash VARCHAR(64) NOT NULL, 
	scopes JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	last_used_at DATETIME, 
	expires_at DATETIME, 
	revoked_at DATETIME, 
	CONSTRAINT pk_api_keys PRIMARY KEY (id), 
	CONSTRAINT fk_api_keys_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE, 
	CONSTRAINT uq_api_keys_key_hash UNIQUE (key_hash)
);
INSERT INTO "api_keys" ("id", "person_id", "name", "start", "key_hash", "scopes", "created_at", "last_used_at", "expires_at", "revoked_at") VALUES ('api_keys_1', 'usr_1', 'x', 'x', 'x', '["a"]', '2026-11-26 12:00:00.000000', '2026-11-26 12:00:00.000000', '2026-11-26 12:00:00.000000', '2026-11-26 12:00:00.000000');
CREATE INDEX ix_api_keys_person_id ON api_keys (person_id);
CREATE TABLE collections (
	id VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	shared BOOLEAN NOT NULL, 
	sealed_name BLOB NOT NULL, 
	version INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_collections PRIMARY KEY (id), 
	CONSTRAINT fk_collections_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE
);
INSERT INTO "collections" ("id", "person_id", "shared", "sealed_name", "version", "created_at") VALUES ('collections_1', 'usr_1', 1, X'01DA48BD5F05CA5F2F49FBB76F0CC855EF903BAE5210913649E176A97E3332B226BB902C0A73EF189AE989C245DF2D1BE079F212390474EE6F63F97256AC8DAC37973B', 1, '2026-11-26 12:00:00.000000');
CREATE INDEX ix_collections_person_id ON collections (person_id);
CREATE INDEX ix_collections_shared ON collections (shared);
CREATE TABLE files (
	id VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	purpose VARCHAR(40) NOT NULL, 
	sealed_name BLOB NOT NULL, 
	sealed_body BLOB NOT NULL, 
	sealed_text BLOB, 
	size BIGINT NOT NULL, 
	content_id VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_files PRIMARY KEY (id), 
	CONSTRAINT fk_files_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE
);
INSERT INTO "files" ("id", "person_id", "purpose", "sealed_name", "sealed_body", "sealed_text", "size", "content_id", "created_at") VALUES ('files_1', 'usr_1', 'x', X'01581D4A9FE26C301A084F603A5CCECAA4743169D33B3A063FEAB583C1B0C578D5DDF992D1296445E9365F7477242302B2A21E7D293B48EA99D7A080974A4942E9388A', X'0172D2694629DF84D119404BDBF55FAC344B0A40CE7A84D5BFBA3362F4EEA640F04B772D9BFDFD5DE241D88388A74CDEFCFBAB9D6F453FF82B67DBFFE3DC81F2BABB60', X'013B5887F3044A1804ED9D20C756FA4461F8EB61F96D6A43D03E234FD0A4491FA439E6CC3288D6D5A1E73588AB17F22C201EF2FC14667AEDFAB02E33DF00B5C883B75E', 1, 'x', '2026-11-26 12:00:00.000000');
CREATE INDEX ix_files_person_id ON files (person_id);
CREATE TABLE folders (
	id VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	sealed_name BLOB NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_folders PRIMARY KEY (id), 
	CONSTRAINT fk_folders_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE
);
INSERT INTO "folders" ("id", "person_id", "sealed_name", "created_at") VALUES ('folders_1', 'usr_1', X'01A8083323C387C1201F010019F825AC651D18A826AEF3E6A6404411C6719C0F6414C4A1D173B076AFF19855DA5EE1598BDA3F870962316B99BE2330F41F88A754B96E', '2026-11-26 12:00:00.000000');
CREATE INDEX ix_folders_person_id ON folders (person_id);
CREATE TABLE jobs (
	id VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	status VARCHAR(20) NOT NULL, 
	settings JSON NOT NULL, 
	result JSON, 
	error VARCHAR(2000), 
	worker VARCHAR(100), 
	cancel_asked BOOLEAN NOT NULL, 
	created_at DATETIME NOT NULL, 
	started_at DATETIME, 
	finished_at DATETIME, 
	alive_at DATETIME, 
	CONSTRAINT pk_jobs PRIMARY KEY (id), 
	CONSTRAINT fk_jobs_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE
);
INSERT INTO "jobs" ("id", "person_id", "kind", "status", "settings", "result", "error", "worker", "cancel_asked", "created_at", "started_at", "finished_at", "alive_at") VALUES ('jobs_1', 'usr_1', 'x', 'x', '{"a": 1}', '{"a": 1}', 'x', 'x', 1, '2026-11-26 12:00:00.000000', '2026-11-26 12:00:00.000000', '2026-11-26 12:00:00.000000', '2026-11-26 12:00:00.000000');
CREATE INDEX ix_jobs_person_id ON jobs (person_id);
CREATE TABLE memories (
	id VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	sealed_text BLOB NOT NULL, 
	"by" VARCHAR(10) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_memories PRIMARY KEY (id), 
	CONSTRAINT fk_memories_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE
);
INSERT INTO "memories" ("id", "person_id", "sealed_text", "by", "created_at") VALUES ('memories_1', 'usr_1', X'017E9801A83F4E2E015506C7F6A0A4D3D2E51899EA86118D2BFA77CC04B64639E3626689AB4DD8333331DA719B82CB41178280E54591F0290051AA367FA1077A27DE66', 'x', '2026-11-26 12:00:00.000000');
CREATE INDEX ix_memories_person_id ON memories (person_id);
CREATE TABLE moderated (
	id VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	conversation_id VARCHAR(64), 
	message_id VARCHAR(64), 
	direction VARCHAR(10) NOT NULL, 
	blocked BOOLEAN NOT NULL, 
	categories JSON NOT NULL, 
	scores JSON NOT NULL, 
	sealed_text BLOB, 
	appeal VARCHAR(10) NOT NULL, 
	sealed_appeal BLOB, 
	sealed_note BLOB, 
	decided_by VARCHAR(64), 
	created_at DATETIME NOT NULL, 
	decided_at DATETIME, 
	CONSTRAINT pk_moderated PRIMARY KEY (id), 
	CONSTRAINT fk_moderated_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE
);
INSERT INTO "moderated" ("id", "person_id", "conversation_id", "message_id", "direction", "blocked", "categories", "scores", "sealed_text", "appeal", "sealed_appeal", "sealed_note", "decided_by", "created_at", "decided_at") VALUES ('moderated_1', 'usr_1', 'x', 'x', 'x', 1, '["a"]', '{"a": 1}', X'011251BE01AB53363E73155F1FD611A8B9C4E90B5FA6328CBD35F6BDEC09D1A2BD627BDB8A372003DEEE6BF8FB6A065926ED9BA357A19D2DB3BCC6FF74C9E0A98178A9', 'x', X'01746AFB2671041D794524F21E70EBFD5AC89DB0D522991FD5C795BC2559CA9E09D1A2EDE40B5E858939F77C3E266F6BC9C9D45BFF5C1F3EAE003AAFA7F567F6FF84DE', X'01E353C846BD15ECF6A7CF5179A19CE3A25F209F0DA24C406226EB9C4DEF18BEE624B3B597A848587B2D9171194AE994C7F7062C13659050FA29967A72B921D914CADA', 'x', '2026-11-26 12:00:00.000000', '2026-11-26 12:00:00.000000');
CREATE INDEX ix_moderated_person_id ON moderated (person_id);
CREATE TABLE outside_identities (
	issuer VARCHAR(500) NOT NULL, 
	subject VARCHAR(255) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_outside_identities PRIMARY KEY (issuer, subject), 
	CONSTRAINT fk_outside_identities_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE
);
INSERT INTO "outside_identities" ("issuer", "subject", "person_id", "created_at") VALUES ('outside_identities_1', 'outside_identities_1', 'usr_1', '2026-11-26 12:00:00.000000');
CREATE INDEX ix_outside_identities_person_id ON outside_identities (person_id);
CREATE TABLE personas (
	id VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	shared BOOLEAN NOT NULL, 
	sealed_content BLOB NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_personas PRIMARY KEY (id), 
	CONSTRAINT fk_personas_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE
);
INSERT INTO "personas" ("id", "person_id", "shared", "sealed_content", "created_at") VALUES ('personas_1', 'usr_1', 1, X'012DB731D4F068186CFFF1008CB86CF7E4946BC5B1E083A4EEE598D88BC7C1C130988335AD1F4947898B80DF9CF436CF580C252DBB7B9BAFC651A1CE56E354FF1DD392', '2026-11-26 12:00:00.000000');
CREATE INDEX ix_personas_person_id ON personas (person_id);
CREATE INDEX ix_personas_shared ON personas (shared);
CREATE TABLE recovery_codes (
	id VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	code_hash VARCHAR(300) NOT NULL, 
	used_at DATETIME, 
	CONSTRAINT pk_recovery_codes PRIMARY KEY (id), 
	CONSTRAINT fk_recovery_codes_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE
);
INSERT INTO "recovery_codes" ("id", "person_id", "code_hash", "used_at") VALUES ('recovery_codes_1', 'usr_1', 'x', '2026-11-26 12:00:00.000000');
CREATE INDEX ix_recovery_codes_person_id ON recovery_codes (person_id);
CREATE TABLE sessions (
	id VARCHAR(64) NOT NULL, 
	token_hash VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	last_seen_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	revoked_at DATETIME, 
	address VARCHAR(64) NOT NULL, 
	agent VARCHAR(200) NOT NULL, 
	CONSTRAINT pk_sessions PRIMARY KEY (id), 
	CONSTRAINT fk_sessions_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE, 
	CONSTRAINT uq_sessions_token_hash UNIQUE (token_hash)
);
INSERT INTO "sessions" ("id", "token_hash", "person_id", "created_at", "last_seen_at", "expires_at", "revoked_at", "address", "agent") VALUES ('sessions_1', 'x', 'usr_1', '2026-11-26 12:00:00.000000', '2026-11-26 12:00:00.000000', '2026-11-26 12:00:00.000000', '2026-11-26 12:00:00.000000', 'x', 'x');
CREATE INDEX ix_sessions_person_id ON sessions (person_id);
CREATE TABLE tags (
	id VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	sealed_name BLOB NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_tags PRIMARY KEY (id), 
	CONSTRAINT fk_tags_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE
);
INSERT INTO "tags" ("id", "person_id", "sealed_name", "created_at") VALUES ('tags_1', 'usr_1', X'012023672105EFDCF56DCE2F8BD8E7EF8ED00340295BD5248139FD012B882033EA6D1A2CE3EEC7EDA49896C6E98E34E186D1BFD88E81EB60A0248BED0F8B235BFDE0F9', '2026-11-26 12:00:00.000000');
CREATE INDEX ix_tags_person_id ON tags (person_id);
CREATE TABLE usage (
	day VARCHAR(10) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	model VARCHAR(300) NOT NULL, 
	requests BIGINT NOT NULL, 
	prompt_tokens BIGINT NOT NULL, 
	completion_tokens BIGINT NOT NULL, 
	CONSTRAINT pk_usage PRIMARY KEY (day, person_id, model), 
	CONSTRAINT fk_usage_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE
);
INSERT INTO "usage" ("day", "person_id", "model", "requests", "prompt_tokens", "completion_tokens") VALUES ('usage_1', 'usr_1', 'usage_1', 1, 1, 1);
CREATE TABLE collection_files (
	id VARCHAR(64) NOT NULL, 
	collection_id VARCHAR(64) NOT NULL, 
	sealed_name BLOB NOT NULL, 
	content_id VARCHAR(64) NOT NULL, 
	size BIGINT NOT NULL, 
	status VARCHAR(10) NOT NULL, 
	problem VARCHAR(500), 
	passages INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_collection_files PRIMARY KEY (id), 
	CONSTRAINT fk_collection_files_collection_id_collections FOREIGN KEY(collection_id) REFERENCES collections (id) ON DELETE CASCADE
);
INSERT INTO "collection_files" ("id", "collection_id", "sealed_name", "content_id", "size", "status", "problem", "passages", "created_at") VALUES ('collection_files_1', 'collections_1', X'01FAF6711FBA8069D05C54AE3C3AB312069BEE3ED709FC3A64C5461DDDDFEBC32D8767F4432A2CF4761C6484E54A21CB9D034D9BB87B8F8ACE97B0A72125D55DB97D07', 'x', 1, 'x', 'x', 1, '2026-11-26 12:00:00.000000');
CREATE INDEX ix_collection_files_collection_id ON collection_files (collection_id);
CREATE TABLE conversations (
	id VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	sealed_title BLOB, 
	title_by VARCHAR(10) NOT NULL, 
	folder_id VARCHAR(64), 
	model VARCHAR(300), 
	sealed_settings BLOB, 
	current_leaf VARCHAR(64), 
	pinned BOOLEAN NOT NULL, 
	archived BOOLEAN NOT NULL, 
	imported_from VARCHAR(40), 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	CONSTRAINT pk_conversations PRIMARY KEY (id), 
	CONSTRAINT fk_conversations_folder_id_folders FOREIGN KEY(folder_id) REFERENCES folders (id) ON DELETE SET NULL, 
	CONSTRAINT fk_conversations_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE
);
INSERT INTO "conversations" ("id", "person_id", "sealed_title", "title_by", "folder_id", "model", "sealed_settings", "current_leaf", "pinned", "archived", "imported_from", "created_at", "updated_at") VALUES ('cnv_e4029ccea9e53bc638346e0c3d51d54c', 'usr_1', X'012F5483059A80E86D2376314C639103B9A4A4AFCE5C95CACA3B44F93C5A1C607C2617CB97', 'person', NULL, NULL, NULL, 'msg_4929e38959eadb4ed42c432e1cb58eb3', 0, 0, NULL, '2026-11-26 12:00:00.000000', '2026-11-26 12:00:00.000000');
CREATE INDEX ix_conversations_folder_id ON conversations (folder_id);
CREATE INDEX ix_conversations_list ON conversations (person_id, archived, updated_at);
CREATE INDEX ix_conversations_person_id ON conversations (person_id);
CREATE TABLE job_events (
	id VARCHAR(64) NOT NULL, 
	job_id VARCHAR(64) NOT NULL, 
	number INTEGER NOT NULL, 
	level VARCHAR(10) NOT NULL, 
	kind VARCHAR(20) NOT NULL, 
	message VARCHAR(2000) NOT NULL, 
	data JSON, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_job_events PRIMARY KEY (id), 
	CONSTRAINT fk_job_events_job_id_jobs FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "job_events" ("id", "job_id", "number", "level", "kind", "message", "data", "created_at") VALUES ('job_events_1', 'jobs_1', 1, 'x', 'x', 'x', '{"a": 1}', '2026-11-26 12:00:00.000000');
CREATE INDEX ix_job_events_job_id ON job_events (job_id);
CREATE TABLE conversation_tags (
	conversation_id VARCHAR(64) NOT NULL, 
	tag_id VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_conversation_tags PRIMARY KEY (conversation_id, tag_id), 
	CONSTRAINT fk_conversation_tags_conversation_id_conversations FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE, 
	CONSTRAINT fk_conversation_tags_tag_id_tags FOREIGN KEY(tag_id) REFERENCES tags (id) ON DELETE CASCADE
);
INSERT INTO "conversation_tags" ("conversation_id", "tag_id") VALUES ('cnv_e4029ccea9e53bc638346e0c3d51d54c', 'tags_1');
CREATE INDEX ix_conversation_tags_tag_id ON conversation_tags (tag_id);
CREATE TABLE messages (
	id VARCHAR(64) NOT NULL, 
	conversation_id VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	parent_id VARCHAR(64), 
	role VARCHAR(20) NOT NULL, 
	sealed_content BLOB NOT NULL, 
	model VARCHAR(300), 
	model_fingerprint VARCHAR(200), 
	status VARCHAR(10) NOT NULL, 
	prompt_tokens INTEGER, 
	completion_tokens INTEGER, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_messages PRIMARY KEY (id), 
	CONSTRAINT fk_messages_conversation_id_conversations FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE, 
	CONSTRAINT fk_messages_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE
);
INSERT INTO "messages" ("id", "conversation_id", "person_id", "parent_id", "role", "sealed_content", "model", "model_fingerprint", "status", "prompt_tokens", "completion_tokens", "created_at") VALUES ('msg_4929e38959eadb4ed42c432e1cb58eb3', 'cnv_e4029ccea9e53bc638346e0c3d51d54c', 'usr_1', 'msg_c88a21b089d95fe32c0a27551b8cc1f3', 'assistant', X'013C21232849F55109916F1E8A355CA01DA83398A264D4DA588374965EA9DF5B6639F5FF00879E89AA561D8B23F03FA744281628', 'm', NULL, 'done', NULL, NULL, '2026-11-26 12:00:00.000000');
INSERT INTO "messages" ("id", "conversation_id", "person_id", "parent_id", "role", "sealed_content", "model", "model_fingerprint", "status", "prompt_tokens", "completion_tokens", "created_at") VALUES ('msg_c88a21b089d95fe32c0a27551b8cc1f3', 'cnv_e4029ccea9e53bc638346e0c3d51d54c', 'usr_1', NULL, 'user', X'015F1BA5B9643FE5DD015299B39E1AEAEEBF16D1BEE17779446C249A089F819259008B1B218DB2ED7AF3CD5AEF31E491E4097642EFBBBADA9E9F72075DFA2F8FB4343953EE8AFAEBEC8B1C3D67CE', NULL, NULL, 'done', NULL, NULL, '2026-11-26 12:00:00.000000');
CREATE INDEX ix_messages_conversation_id ON messages (conversation_id);
CREATE INDEX ix_messages_parent_id ON messages (parent_id);
CREATE INDEX ix_messages_person_id ON messages (person_id);
CREATE TABLE passages (
	id VARCHAR(64) NOT NULL, 
	collection_id VARCHAR(64) NOT NULL, 
	file_id VARCHAR(64) NOT NULL, 
	position INTEGER NOT NULL, 
	sealed_content BLOB NOT NULL, 
	sealed_vector BLOB, 
	CONSTRAINT pk_passages PRIMARY KEY (id), 
	CONSTRAINT fk_passages_collection_id_collections FOREIGN KEY(collection_id) REFERENCES collections (id) ON DELETE CASCADE, 
	CONSTRAINT fk_passages_file_id_collection_files FOREIGN KEY(file_id) REFERENCES collection_files (id) ON DELETE CASCADE, 
	CONSTRAINT uq_passages_file_id UNIQUE (file_id, position)
);
INSERT INTO "passages" ("id", "collection_id", "file_id", "position", "sealed_content", "sealed_vector") VALUES ('passages_1', 'collections_1', 'collection_files_1', 1, X'0180F5461900FBCBB939E82421949D4CF41429575ED72C596B633E97F65E0033E68C0975ECA3417D8E2C3084E978FC086346970FB44C697CA7767299A11976982C5EE7', X'0104B6D038A040703B6B814751AC3F7BA7D5DA98B4545AE4531211B78045C6385C118F38A95B354A3AA1974FBCFFEDCCB1B55080CA94378677E05FFCD0D898C07851D4');
CREATE INDEX ix_passages_collection_id ON passages (collection_id);
CREATE INDEX ix_passages_file_id ON passages (file_id);
CREATE TABLE runs (
	id VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	conversation_id VARCHAR(64), 
	message_id VARCHAR(64), 
	worker VARCHAR(100) NOT NULL, 
	status VARCHAR(10) NOT NULL, 
	created_at DATETIME NOT NULL, 
	alive_at DATETIME NOT NULL, 
	CONSTRAINT pk_runs PRIMARY KEY (id), 
	CONSTRAINT fk_runs_conversation_id_conversations FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE, 
	CONSTRAINT fk_runs_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE
);
INSERT INTO "runs" ("id", "person_id", "conversation_id", "message_id", "worker", "status", "created_at", "alive_at") VALUES ('runs_1', 'usr_1', 'cnv_e4029ccea9e53bc638346e0c3d51d54c', 'x', 'x', 'x', '2026-11-26 12:00:00.000000', '2026-11-26 12:00:00.000000');
CREATE INDEX ix_runs_conversation_id ON runs (conversation_id);
CREATE INDEX ix_runs_person_id ON runs (person_id);
CREATE TABLE shares (
	id VARCHAR(64) NOT NULL, 
	token_hash VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	conversation_id VARCHAR(64) NOT NULL, 
	sealed_copy BLOB NOT NULL, 
	created_at DATETIME NOT NULL, 
	revoked_at DATETIME, 
	CONSTRAINT pk_shares PRIMARY KEY (id), 
	CONSTRAINT fk_shares_conversation_id_conversations FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE, 
	CONSTRAINT fk_shares_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE, 
	CONSTRAINT uq_shares_token_hash UNIQUE (token_hash)
);
INSERT INTO "shares" ("id", "token_hash", "person_id", "conversation_id", "sealed_copy", "created_at", "revoked_at") VALUES ('shares_1', 'x', 'usr_1', 'cnv_e4029ccea9e53bc638346e0c3d51d54c', X'0129159719E94EF35B0D9CF693F7C2808BFCE4D602A04EFFF0A97A6813A294C64D7288D7CE4FD52BB71D42C5AFB8243BB1A0AA37282AC84AD5F67917A5A2884DF1C902', '2026-11-26 12:00:00.000000', '2026-11-26 12:00:00.000000');
CREATE INDEX ix_shares_conversation_id ON shares (conversation_id);
CREATE INDEX ix_shares_person_id ON shares (person_id);
CREATE TABLE feedback (
	id VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	message_id VARCHAR(64) NOT NULL, 
	rating VARCHAR(10), 
	reasons JSON NOT NULL, 
	sealed_comment BLOB, 
	sealed_better BLOB, 
	model VARCHAR(300), 
	language VARCHAR(10), 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_feedback PRIMARY KEY (id), 
	CONSTRAINT fk_feedback_message_id_messages FOREIGN KEY(message_id) REFERENCES messages (id) ON DELETE CASCADE, 
	CONSTRAINT fk_feedback_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE, 
	CONSTRAINT uq_feedback_person_id UNIQUE (person_id, message_id)
);
INSERT INTO "feedback" ("id", "person_id", "message_id", "rating", "reasons", "sealed_comment", "sealed_better", "model", "language", "created_at") VALUES ('feedback_1', 'usr_1', 'msg_4929e38959eadb4ed42c432e1cb58eb3', 'x', '["a"]', X'0127F05BF984AB418BE7DB94532A0455673907B47AA2B5A705092C5E524E893DA360A0921E304E145293D3CB8B421549DA9B3EC6AEB9B5CA0668724D28A2BFDC080A33', X'0150764E34F0978143D98E87DBF46EF096EFC25F450538650D6476ED78D419828955A10F5CF759D8AED4EA889158E63ACF1AF94E9F3B82706852BB7278C4A64DAFEAA1', 'x', 'x', '2026-11-26 12:00:00.000000');
CREATE INDEX ix_feedback_message_id ON feedback (message_id);
CREATE INDEX ix_feedback_person_id ON feedback (person_id);
CREATE TABLE message_terms (
	number INTEGER NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	conversation_id VARCHAR(64) NOT NULL, 
	message_id VARCHAR(64), 
	CONSTRAINT pk_message_terms PRIMARY KEY (number), 
	CONSTRAINT fk_message_terms_conversation_id_conversations FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE, 
	CONSTRAINT fk_message_terms_message_id_messages FOREIGN KEY(message_id) REFERENCES messages (id) ON DELETE CASCADE, 
	CONSTRAINT fk_message_terms_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE, 
	CONSTRAINT uq_message_terms_message_id UNIQUE (message_id)
);
INSERT INTO "message_terms" ("number", "person_id", "conversation_id", "message_id") VALUES (1, 'usr_1', 'cnv_e4029ccea9e53bc638346e0c3d51d54c', NULL);
INSERT INTO "message_terms" ("number", "person_id", "conversation_id", "message_id") VALUES (2, 'usr_1', 'cnv_e4029ccea9e53bc638346e0c3d51d54c', 'msg_c88a21b089d95fe32c0a27551b8cc1f3');
INSERT INTO "message_terms" ("number", "person_id", "conversation_id", "message_id") VALUES (3, 'usr_1', 'cnv_e4029ccea9e53bc638346e0c3d51d54c', 'msg_4929e38959eadb4ed42c432e1cb58eb3');
CREATE INDEX ix_message_terms_conversation_id ON message_terms (conversation_id);
CREATE INDEX ix_message_terms_person_id ON message_terms (person_id);
CREATE TABLE side_by_side (
	id VARCHAR(64) NOT NULL, 
	person_id VARCHAR(64) NOT NULL, 
	left_id VARCHAR(64) NOT NULL, 
	right_id VARCHAR(64) NOT NULL, 
	choice VARCHAR(10) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_side_by_side PRIMARY KEY (id), 
	CONSTRAINT fk_side_by_side_left_id_messages FOREIGN KEY(left_id) REFERENCES messages (id) ON DELETE CASCADE, 
	CONSTRAINT fk_side_by_side_person_id_people FOREIGN KEY(person_id) REFERENCES people (id) ON DELETE CASCADE, 
	CONSTRAINT fk_side_by_side_right_id_messages FOREIGN KEY(right_id) REFERENCES messages (id) ON DELETE CASCADE
);
INSERT INTO "side_by_side" ("id", "person_id", "left_id", "right_id", "choice", "created_at") VALUES ('side_by_side_1', 'usr_1', 'msg_4929e38959eadb4ed42c432e1cb58eb3', 'msg_4929e38959eadb4ed42c432e1cb58eb3', 'x', '2026-11-26 12:00:00.000000');
CREATE INDEX ix_side_by_side_left_id ON side_by_side (left_id);
CREATE INDEX ix_side_by_side_person_id ON side_by_side (person_id);
CREATE INDEX ix_side_by_side_right_id ON side_by_side (right_id);
CREATE VIRTUAL TABLE message_search USING fts5(terms, tokenize='ascii', detail='none', columnsize=0);
INSERT INTO "message_search" ("rowid", "terms") VALUES (1, '08351401 1b37cd6d 3148da80 38de3e16 4c5e6d1b 4ee5cf9e 738c2226 9c5a0c41 9ded4aea a41f206c b08d6bc9 c0f4e8b0 c2015bb8 c280fefe cf0e9e16 d226d099 ed731a0b edf8d9cf fa75c87f');
INSERT INTO "message_search" ("rowid", "terms") VALUES (2, '044b6124 095de17d 174c67e0 1a2ddc1d 1e108e9d 1e475d1e 23965188 27306820 2743df41 39c06b7e 4036e594 46a15016 4d2fd733 53bf50f5 56530be0 58b41ac6 6423f536 685c96a8 738c2226 78e12baf 7a53bc4a 84ef02df 8f4623c3 9750d9e8 9b862d66 a533b3f3 a76ecb63 b1ee6351 b43bf39b b78177a9 bfb83ff6 bfff67da c0008b3c c4062760 cac8f0a2 cf0e9e16 d1441475 d56d3499 d7291a12 d7cf0c75 dfcf3f04 e2055592 e28df8bf ea8da075 edf8d9cf f901bd5b fbb6b354');
INSERT INTO "message_search" ("rowid", "terms") VALUES (3, '0ab4ee5b 2743df41 27569444 2e4f201e 3148da80 416314f4 45937419 4c5e6d1b 56530be0 6ae022c2 738c2226 7c7a3d11 90511bd0 a76ecb63 aba40e60 c280fefe cac8f0a2 db709021 ece2ca73');
CREATE TABLE search_gone (number INTEGER PRIMARY KEY);
CREATE TRIGGER message_terms_gone AFTER DELETE ON message_terms BEGIN INSERT OR IGNORE INTO search_gone VALUES (old.number); END;
CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log cannot be changed'); END;
CREATE TRIGGER audit_kept BEFORE DELETE ON audit WHEN OLD.sequence > COALESCE((SELECT CAST(substr(value, instr(value, '"sequence": ') + 12) AS INTEGER) FROM server_values WHERE name = 'audit_checkpoint'), 0) BEGIN SELECT RAISE(ABORT, 'the audit log cannot be changed'); END;
COMMIT;
