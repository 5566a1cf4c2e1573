#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs the kernel tests, all or those named, on a machine that has the module
# loaded: test/kernel/run.sh [PROGRAM...]. Needs root.
#
# A program passes on positive evidence only: a plan, a result for each test of
# it, none of them "not ok", and status 0.
#
# EXMEM_TEST_PROGRAMS	where the programs are (build/test-kernel)
# EXMEM_TEST_MODULE	the exclusive_memory_test.ko of this kernel; else it is
#			looked for in EXMEM_MODULES and in build/kmod/*/

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
programs=${EXMEM_TEST_PROGRAMS:-$root/build/test-kernel}
PATH=$PATH:/usr/sbin:/sbin

# In this order. These need more than a booted kernel, and skip without it:
#	compare_test		secretmem.enable=1 on the command line (--append)
#	fault_injection_test, view_fault_injection_test, guest_fault_injection_test
#				CONFIG_FAULT_INJECTION (--kernel debug)
#	hibernate_test		CONFIG_HIBERNATION, and no lockdown
#	hwpoison_test		CONFIG_MEMORY_FAILURE; takes a page out of use for good
#	unload_test		the last: unloads the module and loads it again
# Not among them, for a small machine of their own:
#	kvm_test, view_kvm_test, guest_bind_test, guest_view_kvm_test
#				/dev/kvm, with which an emulator may hang
#	guest_kvm_test, guest_hazard_clock_test, guest_hazard_pv_test,
#	guest_hazard_monitor_test, guest_hazard_slot_test, guest_hazard_nested_test,
#	guest_compare_test	the same; where the processor is an emulator's, they load
#				exclusive_memory_fetch_test.ko of EXMEM_MODULES
#	alias_test		takes nearly all memory for a moment
all="create_test map_test mremap_test fork_test handover_test nobody_reads_test
limits_test notifier_test destroy_test direct_map_test trace_test
view_ioctl_test view_ranges_test view_seed_test view_access_test view_syscall_test
view_revoke_test view_file_test view_disk_test view_truncate_test view_hugetlb_test
view_process_test view_mutual_test view_exclusive_test view_race_test
view_stall_test view_pressure_test view_scale_test view_lifetime_test view_fault_injection_test
guest_map_test guest_nobody_reads_test guest_populate_test guest_share_test guest_view_test
guest_notifier_test guest_device_test guest_lifetime_test guest_fault_injection_test
host_access_map_test host_access_mremap_test host_access_fork_test host_access_handover_test
host_access_nobody_reads_test host_access_limits_test host_access_destroy_test
hibernate_test fault_injection_test compare_test lifetime_test hwpoison_test
unload_test"

is_for_this_kernel() {
	[ "$(modinfo -F vermagic "$1" 2>/dev/null | cut -d ' ' -f 1)" = "$(uname -r)" ]
}

find_module() {
	for file in "$EXMEM_TEST_MODULE" "$EXMEM_MODULES/exclusive_memory_test.ko" \
		    "$root"/build/kmod/*/exclusive_memory_test.ko; do
		if [ -f "$file" ] && is_for_this_kernel "$file"; then
			echo "$file"
			return 0
		fi
	done
	return 1
}

load_test_module() {
	[ -d /sys/module/exclusive_memory_test ] && return 0
	EXMEM_TEST_MODULE=$(find_module) || {
		echo "# no exclusive_memory_test.ko for kernel $(uname -r)"
		return 1
	}
	export EXMEM_TEST_MODULE
	insmod "$EXMEM_TEST_MODULE"
}

# Standard input: a program's output. One line says what is wrong with it, or nothing.
find_fault() {
	awk -v status="$1" '
		/^1\.\.[0-9]+$/ { plan = substr($0, 4); plans++ }
		/^ok [0-9]+/ { passed++; if (/ # SKIP /) skipped++ }
		/^not ok [0-9]+/ { failed++ }
		/^Bail out!/ { bailed = 1 }
		END {
			if (bailed) fault = "bailed out"
			else if (plans != 1) fault = "no plan"
			else if (passed + failed != plan) fault = "only " passed + failed " of " plan " results"
			else if (failed) fault = failed " of " plan " tests failed"
			else if (status) fault = "status " status
			printf "%d passed, %d skipped, %d failed%s\n", passed - skipped, skipped, failed,
			       fault ? ": " fault : ""
			exit fault != ""
		}'
}

run_program() {
	echo "# $1"
	if [ ! -x "$programs/$1" ]; then
		summary="$summary
not ok - $1: not built"
		return 1
	fi
	# The status goes beside the output, which is shown while it comes.
	{
		"$programs/$1" 2>&1
		echo $? >"$scratch/status"
	} | tee "$scratch/output"
	if fault=$(find_fault "$(cat "$scratch/status")" <"$scratch/output"); then
		summary="$summary
ok - $1: $fault"
	else
		summary="$summary
not ok - $1: $fault"
		return 1
	fi
}

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
summary=
result=0

load_test_module || result=1
for program in ${*:-$all}; do
	run_program "$program" || result=1
done
echo "# summary$summary"
exit $result
