package kannel

// ParseReply is parseReply.
var ParseReply = parseReply

// ReadPacket reads the variable part of a packet as receive does.
func ReadPacket(b []byte) {
	for more := true; more && len(b) > 0; {
		var err error
		if _, _, more, b, err = tpi(b); err != nil {
			return
		}
	}
}
