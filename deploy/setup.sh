# The directory files of systemd are not used: before version 238, systemd-sysusers refuses the line with a shell.
getent group imagestore-agent >/dev/null || groupadd --system imagestore-agent
getent passwd imagestore-agent >/dev/null || useradd --system --gid imagestore-agent \
	--home-dir /var/lib/imagestore-agent --no-create-home --shell /usr/sbin/nologin \
	--comment 'ImageStore backup storage agent' imagestore-agent
install -d -o root -g imagestore-agent -m 0750 /etc/imagestore-agent
install -d -o imagestore-agent -g imagestore-agent -m 0750 /var/lib/imagestore-agent
# Before version 239, systemd does not know all directives of the unit, and would start no daemon with the others.
systemd_version=$(systemctl --version 2>/dev/null | sed -n '1s/^[^0-9]*\([0-9]*\).*/\1/p')
drop_ins=/usr/lib/systemd/system/imagestore-agent.service.d
rm -f $drop_ins/old-systemd.conf
if [ "${systemd_version:-239}" -lt 239 ]; then
	mkdir -p $drop_ins
	{
		echo '# Written by the package for an older systemd (docs/operations.md, "An older systemd").'
		echo '[Service]'
		# The group @system-service is unknown, so that next to no system call would be permitted.
		echo 'SystemCallFilter='
		# The value "strict" came with ReadWritePaths=.
		[ "$systemd_version" -ge 232 ] || echo 'ProtectSystem=full'
	} > $drop_ins/old-systemd.conf
fi
