/* SPDX-License-Identifier: MIT */
#ifndef SECRET_H
#define SECRET_H

/*
 * Makes a page of random bytes, which stays in this process, and tells the
 * monitor where it is in the guest's memory and what it holds, inverted.
 */
void make_secret(void);

#endif
