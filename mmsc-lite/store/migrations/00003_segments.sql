-- Where a content lies that stands in a segment, a file beside SQLite's (folder contents), and not in chunks.

-- +goose Up
ALTER TABLE contents ADD COLUMN segment BIGINT NOT NULL DEFAULT 0; -- number of the file; 0: in chunks
ALTER TABLE contents ADD COLUMN start   BIGINT NOT NULL DEFAULT 0; -- octet in it
ALTER TABLE contents ADD COLUMN sum     BIGINT NOT NULL DEFAULT 0; -- CRC-32C of the octets
CREATE INDEX contents_segment ON contents (segment, start, size) WHERE segment > 0;

